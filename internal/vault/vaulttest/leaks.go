package vaulttest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// Leaks returns every place of the vault's Postgres and Redis, and their names and
// values of every type, where canary stands: as it is, in base64, hex or URL
// encoding.
func (e *Env) Leaks(t testing.TB, canary string) []string {
	t.Helper()
	found := append(postgresLeaks(t, e.DSN, canary), redisLeaks(t, e.RedisURL, canary)...)
	return found
}

// encodings are the forms of canary to look for. Base64 has three, by where in a
// group of three bytes the canary begins; the ends, which neighbours change, are
// left off.
func encodings(canary string) map[string][]byte {
	forms := map[string][]byte{
		"raw":       []byte(canary),
		"hex":       []byte(hex.EncodeToString([]byte(canary))),
		"upper hex": bytes.ToUpper([]byte(hex.EncodeToString([]byte(canary)))),
		"url":       []byte(url.QueryEscape(canary)),
	}
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{0}, shift), canary...)
		whole := len(padded) / 3 * 3
		text := base64.StdEncoding.EncodeToString(padded[:whole])
		if shift > 0 {
			text = text[4:]
		}
		forms[fmt.Sprintf("base64 at %d", shift)] = []byte(text)
	}
	return forms
}

func search(place string, content []byte, forms map[string][]byte) (found []string) {
	for name, form := range forms {
		if bytes.Contains(content, form) {
			found = append(found, place+" ("+name+")")
		}
	}
	return found
}

// postgresLeaks looks at every row of every table, as text: bytea is hex there, so
// its columns are looked at as bytes too.
func postgresLeaks(t testing.TB, dsn, canary string) (found []string) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables
		WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) == 0 {
		t.Fatal("the database has no tables: nothing was searched")
	}
	forms := encodings(canary)
	for _, table := range tables {
		rows, err := conn.Query(ctx, "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			for i, raw := range rows.RawValues() {
				found = append(found, search(table+"."+rows.FieldDescriptions()[i].Name, raw, forms)...)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// redisLeaks looks at every key and, as DUMP gives it, every value.
func redisLeaks(t testing.TB, address, canary string) (found []string) {
	t.Helper()
	if address == "" {
		return nil
	}
	ctx := t.Context()
	options, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	forms := encodings(canary)
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		key := keys.Val()
		found = append(found, search("redis key "+key, []byte(key), forms)...)
		for _, content := range redisContents(ctx, client, key) {
			found = append(found, search("redis value of "+key, []byte(content), forms)...)
		}
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// redisContents is a key's serialised value, and plain where serialising may
// compress.
func redisContents(ctx context.Context, client *redis.Client, key string) []string {
	contents := []string{client.Dump(ctx, key).Val(), client.Get(ctx, key).Val()}
	for _, message := range client.XRange(ctx, key, "-", "+").Val() {
		for field, value := range message.Values {
			contents = append(contents, field, fmt.Sprint(value))
		}
	}
	return contents
}
