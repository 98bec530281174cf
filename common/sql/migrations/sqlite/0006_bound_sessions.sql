-- Sessions bound to a key of the client (DPoP, RFC 9449): the key's RFC 7638 thumbprint, of SHA-256 in base64url. A
-- session without one is not bound. Public, and of no use to who reads it.
ALTER TABLE sessions ADD COLUMN jkt TEXT;
