package webhook

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Signer signs requests as Standard Webhooks has it.
type Signer struct{ webhook *standardwebhooks.Webhook }

// errKey does not repeat the key.
var errKey = errors.New("it is no key such as whsec_ and 24 to 64 random bytes in base64")

// NewSigner returns one with the key, which is "whsec_" and 24 to 64 bytes in base64.
func NewSigner(key string) (*Signer, error) {
	webhook, err := standardwebhooks.NewWebhook(key)
	if err != nil || !longEnough(key) {
		return nil, errKey
	}
	return &Signer{webhook}, nil
}

// Sign adds to header the id of a request, which has no dot, the time and the signature of both and body.
func (s *Signer) Sign(header http.Header, id string, now time.Time, body []byte) error {
	signature, err := s.webhook.Sign(id, now, body)
	if err != nil {
		return errors.New("the request cannot be signed")
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}

// longEnough reports whether a key, which is base64, has 24 to 64 bytes.
func longEnough(key string) bool {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whsec_"))
	return err == nil && len(raw) >= 24 && len(raw) <= 64
}
