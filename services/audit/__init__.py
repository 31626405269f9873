"""The notary: admission, hash chain, Merkle tree, checkpoints, verification."""
