-- The logins of the services, and what each may do in Latchkey's database (contract, ruling 54). Run it after each
-- `latchkey migrate`, as the owner of the tables with CREATEROLE or as a superuser; it may be repeated at any time:
--   psql "$DATABASE_URL" -f deploy/postgres/roles.sql
-- with the passwords in POSTGRES_GATEWAY_PASSWORD, POSTGRES_OTP_WORKER_PASSWORD and POSTGRES_SMS_WORKER_PASSWORD.
-- The owner's own login belongs to operators: `latchkey migrate` needs it, a running service never does.
\set ON_ERROR_STOP on
\getenv gateway_password POSTGRES_GATEWAY_PASSWORD
\getenv otp_worker_password POSTGRES_OTP_WORKER_PASSWORD
\getenv sms_worker_password POSTGRES_SMS_WORKER_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', service)
  FROM unnest(ARRAY['latchkey_gateway', 'latchkey_otp_worker', 'latchkey_sms_worker']) AS service
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) \gexec
-- The server's log must not hold the passwords that follow. Only a superuser may say so; a managed server's owner turns
-- off `log_statement` there.
DO $$
BEGIN
    PERFORM set_config('log_statement', 'none', false), set_config('log_min_error_statement', 'panic', false),
        set_config('log_min_duration_statement', '-1', false);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'the passwords of the services may appear in the log of this server';
END $$;
ALTER ROLE latchkey_gateway PASSWORD :'gateway_password';
ALTER ROLE latchkey_otp_worker PASSWORD :'otp_worker_password';
ALTER ROLE latchkey_sms_worker PASSWORD :'sms_worker_password';

BEGIN;
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO latchkey_gateway, latchkey_otp_worker, latchkey_sms_worker',
    current_database()) \gexec
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO latchkey_gateway, latchkey_otp_worker, latchkey_sms_worker;
-- From nothing: what this file no longer grants is taken back.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, latchkey_gateway, latchkey_otp_worker, latchkey_sms_worker;

-- Every service waits for the schema's version, and holds the run-time blocks.
GRANT SELECT ON _sqlx_migrations, blocks, shut_providers TO latchkey_gateway, latchkey_otp_worker, latchkey_sms_worker;

-- The gateway owns accounts: every table but the ledger of messages, the audit with its renames, the keys of the admin API,
-- and the list of migrations.
DO $$
DECLARE
    of_accounts text;
BEGIN
    FOR of_accounts IN
        SELECT tablename FROM pg_tables
         WHERE schemaname = 'public' AND tablename NOT LIKE 'sms\_%'
           AND tablename NOT IN ('audit', 'audit_renames', 'admin_keys', '_sqlx_migrations')
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO latchkey_gateway', of_accounts);
    END LOOP;
END $$;
-- It adds to the audit, and changes nothing there. Deleting an account puts a pseudonym in the place of its id: a function
-- does both, with its owner's rights. No login of a service owns the table, so none can disable its triggers.
GRANT SELECT, INSERT ON audit TO latchkey_gateway;
GRANT EXECUTE ON FUNCTION latchkey_delete_user(UUID, TEXT) TO latchkey_gateway;
-- It makes no key of the admin API and takes none back: operators do, by a command.
GRANT SELECT, UPDATE (last_used_at) ON admin_keys TO latchkey_gateway;
-- The console shows the ledger. Deleting an account erases its phone there, and nothing else is the gateway's to change.
GRANT SELECT ON sms_ledger, sms_attempts, sms_history TO latchkey_gateway;
GRANT UPDATE (phone_number) ON sms_ledger TO latchkey_gateway;

-- Every service says that it runs, in a row of its own: the gateway by the rule above.
GRANT INSERT, UPDATE, DELETE, SELECT (instance) ON processes TO latchkey_otp_worker, latchkey_sms_worker;

-- otp-worker learns whether a phone has an account, and writes what the pumping guard saw.
GRANT SELECT (phone_number) ON users TO latchkey_otp_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON guard_history, guard_nets TO latchkey_otp_worker;

-- sms-worker owns the ledger. It faces the providers, and no account.
GRANT SELECT, INSERT, UPDATE, DELETE ON sms_ledger, sms_attempts, sms_history, sms_receipts, sms_totals
    TO latchkey_sms_worker;
COMMIT;
