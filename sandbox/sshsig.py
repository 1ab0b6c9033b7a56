"""OpenSSH public keys and SSHSIG signatures as values: read, named, and made for the manager's own key.

Owns the two formats (PROTOCOL.sshsig, RFC 4253 keys) and reads them strictly: what is not exactly right is
a ValueError that says what is wrong. Must not decide whose key it is or run a program; `ssh-keygen`
verifies people's signatures (`lifecycle.signing`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MAGIC = b"SSHSIG"
_VERSION = 1
_ARMOR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")
_KEY_ARMOR = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----")
_KEY_MAGIC = b"openssh-key-v1\0"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_ED25519 = b"ssh-ed25519"
_TOUCHED = 0x01


@dataclass(frozen=True, slots=True)
class Signature:
    """What an armored signature says about itself; nothing of it is verified."""

    key: bytes
    """The public key's blob."""
    namespace: str
    hash_algorithm: str
    """`sha256` or `sha512`."""
    algorithm: str
    """Of the signature, as `ssh-ed25519` or `rsa-sha2-512`."""
    value: bytes
    """The signature proper."""
    touched: bool | None
    """Whether a security key was touched for it; None: it is not from a security key."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise ValueError("it is cut short")
        self._at += count
        return piece

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.string().decode("ascii")

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("something follows its end")


def parse(armored: str) -> Signature:
    """Read an armored signature. Raises ValueError."""
    reader = _Reader(_unarmored(armored, _ARMOR, "armored SSH signature"))
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise ValueError("it is not an SSH signature")
    if (version := reader.number()) != _VERSION:
        raise ValueError(f"it has version {version}, not {_VERSION}")
    key, namespace, reserved = reader.string(), reader.text(), reader.string()
    hash_algorithm, signature = reader.text(), reader.string()
    reader.end()
    if reserved:
        raise ValueError("its reserved field is not empty")
    if hash_algorithm not in _HASHES:
        raise ValueError(f"its hash algorithm {hash_algorithm!r} is neither sha256 nor sha512")
    inner = _Reader(signature)
    algorithm, value = inner.text(), inner.string()
    touched = None
    if algorithm.startswith("sk-"):
        touched = bool(inner.take(1)[0] & _TOUCHED)
        inner.number()  # the key's own counter
    inner.end()
    return Signature(key, namespace, hash_algorithm, algorithm, value, touched)


def key_blob(line: str) -> bytes:
    """The blob of a public key given as in an authorized_keys file, without options. Raises ValueError."""
    fields = line.split()
    if len(fields) < 2:
        raise ValueError("it is not an OpenSSH public key")
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except binascii.Error as error:
        raise ValueError("its second field is not base64") from error
    if _Reader(blob).text() != fields[0]:
        raise ValueError(f"its type is not {fields[0]}")
    return blob


def key_line(blob: bytes) -> str:
    """The public key as `type base64`. Raises ValueError."""
    return f"{_Reader(blob).text()} {base64.b64encode(blob).decode()}"


def fingerprint(blob: bytes) -> str:
    """The key's name as OpenSSH shows it: `SHA256:…`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def load_ed25519(armored: str) -> Ed25519PrivateKey:
    """The one key of an OpenSSH private key file, as `ssh-keygen -t ed25519 -N ''` makes it. Raises ValueError.

    Read here, because the library loads every other kind of key and cipher to do it, which takes longer than
    most commands do.
    """
    outer = _Reader(_unarmored(armored, _KEY_ARMOR, "OpenSSH private key"))
    if outer.take(len(_KEY_MAGIC)) != _KEY_MAGIC:
        raise ValueError("it is not an OpenSSH private key")
    if (outer.text(), outer.text(), outer.string()) != ("none", "none", b""):
        raise ValueError("it has a passphrase")
    if (count := outer.number()) != 1:
        raise ValueError(f"it has {count} keys, not one")
    public, inner = outer.string(), _Reader(outer.string())
    outer.end()
    if inner.number() != inner.number():
        raise ValueError("its two check numbers differ")
    if inner.string() != _ED25519:
        raise ValueError("it is not an ed25519 key")
    point, pair = inner.string(), inner.string()
    key = Ed25519PrivateKey.from_private_bytes(pair[:32])
    raw = key.public_key().public_bytes_raw()
    if (point, pair[32:]) != (raw, raw) or public != _ed25519_blob(key.public_key()):
        raise ValueError("its halves are not of one key")
    return key


def ed25519_line(key: Ed25519PublicKey) -> str:
    """An ed25519 public key as `type base64`."""
    return key_line(_ed25519_blob(key))


def _ed25519_blob(key: Ed25519PublicKey) -> bytes:
    return _string(_ED25519) + _string(key.public_bytes_raw())


def sign_ed25519(key: Ed25519PrivateKey, namespace: str, message: bytes) -> str:
    """An armored signature, as `ssh-keygen -Y sign` makes it."""
    value = key.sign(_signed_data(namespace, "sha512", message))
    body = _MAGIC + _VERSION.to_bytes(4, "big") + _string(_ed25519_blob(key.public_key()))
    body += (
        _string(namespace.encode()) + _string(b"") + _string(b"sha512") + _string(_string(_ED25519) + _string(value))
    )
    text = base64.b64encode(body).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join([_ARMOR[0], *lines, _ARMOR[1], ""])


def verify_ed25519(armored: str, key: bytes, namespace: str, message: bytes) -> None:
    """Check a signature by exactly this ed25519 key for exactly this namespace. Raises ValueError."""
    signature = parse(armored)
    if signature.key != key:
        raise ValueError(f"it was made with another key ({fingerprint(signature.key)})")
    if signature.namespace != namespace:
        raise ValueError(f"it was made for {signature.namespace!r}, not for {namespace!r}")
    reader = _Reader(key)
    if reader.string() != _ED25519 or signature.algorithm.encode() != _ED25519:
        raise ValueError("it is not an ed25519 signature")
    try:
        public = Ed25519PublicKey.from_public_bytes(reader.string())
        public.verify(signature.value, _signed_data(namespace, signature.hash_algorithm, message))
    except InvalidSignature:
        raise ValueError("it does not fit the message") from None


def _signed_data(namespace: str, hash_algorithm: str, message: bytes) -> bytes:
    digest = _HASHES[hash_algorithm](message).digest()
    return _MAGIC + _string(namespace.encode()) + _string(b"") + _string(hash_algorithm.encode()) + _string(digest)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _unarmored(armored: str, armor: tuple[str, str], what: str) -> bytes:
    lines = armored.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != armor:
        raise ValueError(f"it is not an {what}")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("its armor is not base64") from error
