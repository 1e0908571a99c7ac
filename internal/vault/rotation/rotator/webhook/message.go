package webhook

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// message is the body of a request.
type message struct {
	// Step is one of create, set, test, finish and revoke.
	Step string `json:"step"`
	// Rotation names the rotation that the step is of.
	Rotation string `json:"rotation"`
	// The credentials that the step is about; each has those it needs.
	Previous rotator.Credential `json:"previous,omitempty"`
	Current  rotator.Credential `json:"current,omitempty"`
	Next     rotator.Credential `json:"next,omitempty"`
}

// maxAnswerBytes bounds an answer.
const maxAnswerBytes = 64 << 10

// partName is what a part of a credential may be called: as a key of a Secret.
var partName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)

// readNext reads the answer to create: {"next": {part: text}}. Parts of current that it does not name are kept.
func readNext(body []byte, current rotator.Credential) (rotator.Credential, error) {
	var answer struct {
		Next rotator.Credential `json:"next"`
	}
	// The decoder's error may repeat a piece of the answer.
	if json.Unmarshal(body, &answer) != nil || len(answer.Next) == 0 {
		return nil, fmt.Errorf(`%w: the webhook answered create with no JSON such as {"next":{"password":"…"}}, with texts only`, rotator.ErrSetup)
	}
	next := rotator.Credential{}
	maps.Copy(next, current)
	for name, value := range answer.Next {
		if !partName.MatchString(name) {
			return nil, fmt.Errorf("%w: the webhook answered create with a part whose name is not of letters, digits, dot, - and _, or is too long", rotator.ErrSetup)
		}
		next[name] = value
	}
	if maps.Equal(next, current) {
		return nil, fmt.Errorf("%w: the webhook answered create with the credential that is current", rotator.ErrSetup)
	}
	return next, nil
}
