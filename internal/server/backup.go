package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/sdk"
)

// pieceTimeout bounds what a client takes for a piece of an answer without an end in time, such as
// a backup: a snapshot is held open meanwhile. The whole has no bound.
const pieceTimeout = time.Minute

type backupInput struct{ Body sdk.BackupRequest }

func (a *api) registerBackup(h huma.API) {
	o := operation(http.MethodPost, "/v1/backup", "backup", "Back the vault up into one file, encrypted with age")
	o.Responses = map[string]*huma.Response{"200": {
		Description: "The file. One that breaks off does not open",
		Content:     map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	huma.Register(h, o, a.backup)
}

func (a *api) backup(ctx context.Context, in *backupInput) (*huma.StreamResponse, error) {
	write, err := a.vault.Backup(ctx, callerOf(ctx), in.Body.Recipients)
	if err != nil {
		return nil, a.fail(ctx, "back up the vault", err)
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "application/octet-stream")
		// Not the request's deadline: a client that goes away fails the next write.
		if err := write(context.WithoutCancel(ctx), patientWriter(h.BodyWriter())); err != nil {
			a.logger.ErrorContext(ctx, "a backup broke off", "error", err, "requestID", exchangeOf(ctx).requestID)
			panic(http.ErrAbortHandler) // so that the client sees it break off too
		}
	}}, nil
}

// patientWriter gives each write a deadline of its own, in place of the server's for
// the whole answer.
func patientWriter(w io.Writer) io.Writer {
	response, ok := w.(http.ResponseWriter)
	if !ok {
		return w
	}
	return &deadlineWriter{w, http.NewResponseController(response), pieceTimeout}
}

type deadlineWriter struct {
	io.Writer
	controller *http.ResponseController
	patience   time.Duration
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	if err := w.controller.SetWriteDeadline(time.Now().Add(w.patience)); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
