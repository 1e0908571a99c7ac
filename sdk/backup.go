package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// BackupRequest says who can open a backup.
type BackupRequest struct {
	// Recipients are age recipients, such as age1…; at least one.
	Recipients []string `json:"recipients" minItems:"1" maxItems:"100" doc:"age recipients, of whom each can open the file" example:"[\"age1…\"]"`
}

// Backup writes a backup of the whole vault to w, encrypted to the recipients. It
// needs read on sys/backup. It takes as long as it takes, and is not tried again:
// after an error what was written to w is of no use.
func (c *Client) Backup(ctx context.Context, recipients []string, w io.Writer) error {
	token, err := c.token.get()
	if err != nil {
		return &Error{Code: CodeUnauthenticated, Detail: err.Error(), cause: err}
	}
	body, err := json.Marshal(BackupRequest{Recipients: recipients})
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	target := *c.base
	target.Path += "/v1/backup"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", c.userAgent)
	response, err := c.http.Do(request)
	if err != nil {
		return noAnswer(c.base, err).err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return readAnswer(response, nil).err
	}
	if _, err := io.Copy(w, response.Body); err != nil {
		return &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the backup broke off: %v; begin anew", err), cause: err}
	}
	return nil
}
