"""Writes common/passwords/src/common_100k.bin: the 100,000 most common passwords, as sorted digests.

The input is `PwnedPasswordsTop100k.txt`, which the UK's National Cyber Security Centre published: the most frequent
passwords of Have I Been Pwned's Pwned Passwords (https://haveibeenpwned.com/Passwords), one per line after
a head that ends with a blank line.

Each entry is the first four bytes of the SHA-256 of the password in lower case. So the repository holds no list of
passwords, many of which are obscene, and one password in 44,000 is refused by mistake.

    python tools/common-passwords/generate.py PwnedPasswordsTop100k.txt
"""
import hashlib
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "common/passwords/src/common_100k.bin"
# Longer lines are many passwords in one.
MOST_CHARS = 64

lines = Path(sys.argv[1]).read_bytes().replace(b"\r", b"").split(b"\n")
words = set()
for line in lines[6:]:
    try:
        word = line.decode("utf-8").lower()
    except UnicodeDecodeError:
        continue
    if word and len(word) <= MOST_CHARS and "\ufffd" not in word:
        words.add(word)
digests = sorted({hashlib.sha256(word.encode()).digest()[:4] for word in words})
OUT.write_bytes(b"".join(digests))
print(f"{len(words)} passwords, {len(digests)} digests")
