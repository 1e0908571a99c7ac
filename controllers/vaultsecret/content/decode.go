package content

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// decode decodes text. The error names what text is not; those of the decoders are
// left out, since they tell where the value is odd.
func decode(decoding vaultv1alpha1.Decoding, text []byte) ([]byte, error) {
	switch decoding {
	case vaultv1alpha1.DecodeBase64:
		decoded, err := base64.StdEncoding.AppendDecode(nil, text)
		if err != nil {
			return nil, errors.New("standard base64")
		}
		return decoded, nil
	case vaultv1alpha1.DecodeBase64URL:
		decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(string(text), "="))
		if err != nil {
			return nil, errors.New("URL-safe base64")
		}
		return decoded, nil
	case vaultv1alpha1.DecodeHex:
		decoded, err := hex.AppendDecode(nil, text)
		if err != nil {
			return nil, errors.New("hexadecimal")
		}
		return decoded, nil
	case vaultv1alpha1.DecodeNone, "":
		return text, nil
	default:
		return nil, errors.New("in any encoding that this version of Coffer knows")
	}
}
