package faultproxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what must happen.
const patience = 10 * time.Second

// silence is how long nothing must arrive where nothing may.
const silence = 50 * time.Millisecond

// echo is a server that answers each line with itself, and a proxy before it.
func echo(t *testing.T) *faultproxy.Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	proxy, through, err := faultproxy.ListenFor("tcp://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if through != "tcp://"+proxy.Addr() {
		t.Errorf("the URL through the proxy is %s", through)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy
}

type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, proxy *faultproxy.Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads one line within d.
func (c *client) receive(d time.Duration) (string, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(d))
	line, err := c.in.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func (c *client) wantEcho(line string) {
	c.t.Helper()
	c.send(line)
	c.want(line)
}

func (c *client) want(line string) {
	c.t.Helper()
	if got, err := c.receive(patience); err != nil || got != line {
		c.t.Fatalf("got %q, %v; want %q", got, err, line)
	}
}

func (c *client) wantCut() {
	c.t.Helper()
	if got, err := c.receive(patience); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("got %q, %v; want a reset connection", got, err)
	}
}

// wantRefused dials: the reset comes while it connects, or after.
func wantRefused(t *testing.T, proxy *faultproxy.Proxy) {
	t.Helper()
	conn, err := net.Dial("tcp", proxy.Addr())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	(&client{t, conn, bufio.NewReader(conn)}).wantCut()
}

func TestForwardsAndEnds(t *testing.T) {
	c := dial(t, echo(t))
	big := strings.Repeat("x", 1<<20)
	go func() { _, _ = c.conn.Write([]byte(big + "\n")) }()
	c.want(big)
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(patience); !errors.Is(err, io.EOF) {
		t.Errorf("after our end: %v, want the other's end", err)
	}
}

func TestLatency(t *testing.T) {
	proxy := echo(t)
	c := dial(t, proxy)
	c.wantEcho("before")
	proxy.Latency(100 * time.Millisecond)
	begin := time.Now()
	c.wantEcho("slow")
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("a question and its answer took %v", took)
	}
}

func TestSilenceHoldsOldAndNewConnections(t *testing.T) {
	proxy := echo(t)
	before := dial(t, proxy)
	before.wantEcho("a")
	proxy.Silence()
	during := dial(t, proxy)
	for _, c := range []*client{before, during} {
		c.send("b")
		if got, err := c.receive(silence); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %q, %v; want silence", got, err)
		}
	}
	proxy.Heal()
	before.want("b")
	during.want("b")
}

func TestStrandSparesNewConnections(t *testing.T) {
	proxy := echo(t)
	before := dial(t, proxy)
	before.wantEcho("a")
	proxy.Strand()
	dial(t, proxy).wantEcho("b")
	before.send("c")
	proxy.Heal()
	if got, err := before.receive(silence); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v; want silence", got, err)
	}
}

func TestCutAndRefuse(t *testing.T) {
	proxy := echo(t)
	c := dial(t, proxy)
	c.wantEcho("a")
	proxy.Cut()
	c.wantCut()
	dial(t, proxy).wantEcho("b")
	proxy.Refuse()
	wantRefused(t, proxy)
	proxy.Heal()
	dial(t, proxy).wantEcho("c")
}

func TestLoseAnswerLosesOne(t *testing.T) {
	proxy := echo(t)
	one, other := dial(t, proxy), dial(t, proxy)
	lost := proxy.LoseAnswer(func(answer []byte) bool { return bytes.Contains(answer, []byte("lost")) })
	one.wantEcho("kept")
	one.send("lost")
	one.wantCut()
	<-lost
	other.wantEcho("lost") // only one
}

func TestCloseEndsWhatIsSilent(t *testing.T) {
	proxy := echo(t)
	c := dial(t, proxy)
	c.wantEcho("a")
	proxy.Silence()
	c.send("b")
	if n := proxy.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	c.wantCut()
	if n := proxy.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
