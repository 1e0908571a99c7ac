package faultproxy

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"
)

// Proxy forwards the connections to its address to a target. It is safe for concurrent use. Without a fault it changes
// nothing.
type Proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]struct{}
	faults faults
	closed chan struct{}
	// changed is closed, and made anew, when faults change: what waits looks again.
	changed chan struct{}
}

// faults are those in force.
type faults struct {
	latency time.Duration
	silent  bool
	refuse  bool
	lose    func(answer []byte) bool
}

// Listen starts a proxy to target ("127.0.0.1:5432") on a free loopback port. Close it.
func Listen(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the fault proxy's port: %w", err)
	}
	p := &Proxy{
		listener: listener, target: target, links: map[*link]struct{}{},
		closed: make(chan struct{}), changed: make(chan struct{}),
	}
	p.tasks.Go(p.accept)
	return p, nil
}

// ListenFor is Listen for the server of a URL, and returns the URL that leads through the proxy.
func ListenFor(rawURL string) (*Proxy, string, error) {
	address, err := url.Parse(rawURL)
	if err != nil {
		return nil, "", fmt.Errorf("reading the server's URL for a fault proxy: it is not like scheme://host:port")
	}
	p, err := Listen(address.Host)
	if err != nil {
		return nil, "", err
	}
	address.Host = p.Addr()
	return p, address.String(), nil
}

// Addr is the proxy's own address, host and port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Latency delays every piece of data by d in each direction, so a question and its answer by 2d. Zero ends it.
func (p *Proxy) Latency(d time.Duration) { p.set(func(f *faults) { f.latency = d }) }

// Silence is a partition: connections stand, also new ones, and no byte passes, no FIN and no RST. What was sent
// meanwhile arrives after Heal, as TCP would send it again.
func (p *Proxy) Silence() { p.set(func(f *faults) { f.silent = true }) }

// Strand is what is left of connections when a device between has forgotten them: those that stand now pass no byte any
// more, no FIN and no RST, also after Heal; neither side is told. New ones are served.
func (p *Proxy) Strand() {
	p.set(func(*faults) {
		for l := range p.links {
			l.stranded = true
		}
	})
}

// Refuse cuts every connection, and new ones as soon as they are made.
func (p *Proxy) Refuse() {
	p.set(func(f *faults) { f.refuse = true })
	p.Cut()
}

// Cut ends every connection with RST; new ones are served.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// LoseAnswer loses the next piece of data from the server that match accepts, and cuts its connection: the server has
// done what was asked, and the client cannot know. The returned channel is closed when it has happened.
func (p *Proxy) LoseAnswer(match func(answer []byte) bool) <-chan struct{} {
	lost := make(chan struct{})
	p.set(func(f *faults) {
		f.lose = func(answer []byte) bool { // called under the lock
			if !match(answer) {
				return false
			}
			p.faults.lose = nil
			close(lost)
			return true
		}
	})
	return lost
}

// Heal ends all faults; connections that were stranded stay so.
func (p *Proxy) Heal() { p.set(func(f *faults) { *f = faults{} }) }

// Connections is how many connections stand.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close ends the proxy and its connections, and waits for its goroutines.
func (p *Proxy) Close() error {
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.Cut()
	p.tasks.Wait()
	return err
}

func (p *Proxy) set(change func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
}

// refuses reports whether connections are refused.
func (p *Proxy) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults.refuse
}

// now returns the faults in force for a link, and what is closed when they change.
func (p *Proxy) now(l *link) (faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.faults
	now.silent = now.silent || l.stranded
	return now, p.changed
}

// loses reports whether answer is to be lost.
func (p *Proxy) loses(answer []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults.lose != nil && p.faults.lose(answer)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.tasks.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}
