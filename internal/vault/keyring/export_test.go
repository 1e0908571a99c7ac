package keyring

// CheapPassphraseRoot is PassphraseRoot with a cost of next to nothing, for tests
// that derive often. It does not open what PassphraseRoot wrapped.
func CheapPassphraseRoot(passphrase []byte) (Root, error) {
	root, err := PassphraseRoot(passphrase)
	if err != nil {
		return nil, err
	}
	cheap := root.(passphraseRoot)
	cheap.n = 1 << 4
	return cheap, nil
}
