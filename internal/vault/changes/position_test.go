package changes_test

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// sealer has the overhead of the vault's own: 24 random bytes and a tag of 16.
type sealer struct{ aead cipher.AEAD }

func (s sealer) Encrypt(plaintext, associated []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, plaintext, associated), nil
}

func (s sealer) Decrypt(sealed, associated []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	return s.aead.Open(nil, sealed[:n], sealed[n:], associated)
}

func newPositions(vault byte) changes.Positions {
	aead, err := chacha20poly1305.NewX(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		panic(err)
	}
	return changes.Positions{Sealer: sealer{aead}, Vault: [16]byte{vault}}
}

var positions = newPositions(1)

// unsealed shows and takes what is inside.
type unsealed struct{}

func (unsealed) Encrypt(plaintext, _ []byte) ([]byte, error) {
	return append(slices.Clone(plaintext), make([]byte, 40)...), nil
}

func (unsealed) Decrypt(sealed, _ []byte) ([]byte, error) { return sealed[:len(sealed)-40], nil }

func cursorAt(position int64, xid uint64, open ...uint64) changes.Cursor {
	return changes.NewCursor(changes.Start{
		Newest: changes.Witness{Position: position, XID: xid, WrittenAt: time.UnixMicro(1_700_000_000_000_001).UTC()}, InProgress: open,
	})
}

// TestPositionLayout: the bytes inside are a format that other releases read.
func TestPositionLayout(t *testing.T) {
	plain := changes.Positions{Sealer: unsealed{}}
	position, err := plain.Seal(cursorAt(7, 1000, 5, 6, 900).WithTag(changes.Tag{1, 2, 3, 4, 5, 6, 7, 8}))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(string(position), "c1."))
	if err != nil {
		t.Fatal(err)
	}
	want := "01" + "00000000000003e9" + "0000000000000007" + "00060a24181e4001" + "0102030405060708" +
		"6500" + "fe0601" + strings.Repeat("00", 82) // 1001-900, alone; 900-6, and one more
	if got := hex.EncodeToString(inside[:120]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c, err := plain.Open(position)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Due(), c.Witness().XID, c.Tag()); got != fmt.Sprint([]changes.Span{{First: 5, Last: 6}, {First: 900, Last: 900}, {First: 1001, Last: math.MaxUint64}}, 1000, changes.Tag{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("read back: %s", got)
	}
}

// TestPositionKeepsWhatIsDue: whatever is open, the position has one length and the
// cursor read back has all of it due, and exactly that while there is room.
func TestPositionKeepsWhatIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		newest := rapid.Uint64Range(1, math.MaxUint64-1).Draw(t, "newest")
		open := rapid.SliceOfNDistinct(rapid.Uint64Range(0, newest-1), 0, 300, rapid.ID).Draw(t, "open")
		slices.Sort(open)
		c := cursorAt(7, newest, open...)
		position, err := positions.Seal(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(position) != changes.PositionLength || changes.PositionLength > 256 {
			t.Fatalf("%d bytes", len(position))
		}
		back, err := positions.Open(position)
		if err != nil {
			t.Fatal(err)
		}
		due := back.Due()
		if due[len(due)-1] != (changes.Span{First: newest + 1, Last: math.MaxUint64}) || back.Witness() != c.Witness() {
			t.Fatalf("stands at %v, %v; was at %d", due, back.Witness(), newest)
		}
		for _, id := range open {
			if !slices.ContainsFunc(due, func(s changes.Span) bool { return s.First <= id && id <= s.Last }) {
				t.Fatalf("%d is not due any more", id)
			}
		}
		if len(open) <= 7 && !slices.Equal(due, c.Due()) { // each takes 11 bytes at most
			t.Fatalf("%v became %v", c.Due(), due)
		}
	})
}

func TestPositionsTellNothing(t *testing.T) {
	c := cursorAt(7, 1000, 5)
	a, _ := positions.Seal(c)
	b, _ := positions.Seal(c)
	if a == b {
		t.Error("two positions of one cursor are the same: that shows that nothing happened")
	}
}

// TestPositionOfNoUse: each byte counts, and so does the vault.
func TestPositionOfNoUse(t *testing.T) {
	position, err := positions.Seal(cursorAt(7, 1000, 5))
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]changes.Position{
		"empty": "", "prefix": "c1.", "cut": position[:len(position)-1], "longer": position + "A", "huge": changes.Position(strings.Repeat("c1.A", 1<<20)),
		"other format": "c2." + position[3:], "not base64": position[:50] + "!" + position[51:], "line break": position[:50] + "\n" + position[51:],
		"padding": position[:len(position)-1] + "=", "spaces": " " + position[:len(position)-1],
	}
	for i := len("c1."); i < len(position); i++ {
		changed := []byte(position)
		if changed[i]++; changed[i] == '{' || changed[i] == '[' || changed[i] == ':' || changed[i] == '`' || changed[i] == '.' {
			changed[i] = 'A'
		}
		bad[fmt.Sprintf("changed at %d", i)] = changes.Position(changed)
	}
	for name, p := range bad {
		if _, err := positions.Open(p); !errors.Is(err, secret.ErrPositionLost) || len(err.Error()) > 300 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newPositions(2).Open(position); !errors.Is(err, secret.ErrPositionLost) {
		t.Errorf("another vault: %v", err)
	}
	if _, err := positions.Open(position); err != nil {
		t.Errorf("the position itself: %v", err)
	}
}

// FuzzPosition takes any text, sealed for a vault or not.
func FuzzPosition(f *testing.F) {
	position, err := positions.Seal(cursorAt(7, 1000, 5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(position))
	f.Add("c1.")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := positions.Open(changes.Position(text)); err != nil && !errors.Is(err, secret.ErrPositionLost) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// FuzzCursor has the vault's key: what opens is a cursor that makes sense, and is
// sealed as it was.
func FuzzCursor(f *testing.F) {
	plain := changes.Positions{Sealer: unsealed{}}
	for _, c := range []changes.Cursor{{}, cursorAt(7, 1000), cursorAt(1<<62, math.MaxUint64-1, 0, 5, 6, 7, 1<<63)} {
		position, err := plain.Seal(c)
		if err != nil {
			f.Fatal(err)
		}
		inside, _ := base64.RawURLEncoding.DecodeString(string(position[3:]))
		f.Add(inside[:120])
	}
	f.Fuzz(func(t *testing.T, inside []byte) {
		sealed, _ := unsealed{}.Encrypt(inside, nil)
		c, err := plain.Open(changes.Position("c1." + base64.RawURLEncoding.EncodeToString(sealed)))
		if err != nil {
			if !errors.Is(err, secret.ErrPositionLost) {
				t.Error(err)
			}
			return
		}
		due := c.Due()
		for i, span := range due {
			if span.First > span.Last || i > 0 && span.First <= due[i-1].Last {
				t.Errorf("%x has %v due", inside, due)
			}
		}
		again, err := plain.Seal(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := plain.Open(again)
		if err != nil || back.Compare(c) != 0 || back.Witness() != c.Witness() {
			t.Errorf("%x: %v became %v, %v", inside, due, back.Due(), err)
		}
	})
}
