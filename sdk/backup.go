package sdk

import (
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
	body, err := json.Marshal(BackupRequest{Recipients: recipients})
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	answer, err := c.stream(ctx, "/v1/backup", body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	if _, err := io.Copy(w, answer); err != nil {
		return &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the backup broke off: %v; begin anew", err), cause: err}
	}
	return nil
}

// stream posts body, nil for none, and returns an answer that may take any time.
func (c *Client) stream(ctx context.Context, route string, body []byte) (io.ReadCloser, error) {
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	answer, a := c.open(ctx, opening{method: http.MethodPost, route: route, header: header, body: body})
	return answer, a.err
}
