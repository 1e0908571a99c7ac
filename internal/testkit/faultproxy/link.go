package faultproxy

import (
	"net"
	"sync"
	"time"
)

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn
	ended          chan struct{}
	end            sync.Once
	stranded       bool // guarded by proxy.mu
}

// serve dials the target for client and forwards both ways until one side ends.
func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{proxy: p, client: client, ended: make(chan struct{})}
	if p.refuses() {
		l.reset()
		return
	}
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		l.reset()
		return
	}
	l.server = server.(*net.TCPConn)
	if !p.add(l) {
		l.reset()
		return
	}
	defer p.remove(l)
	var both sync.WaitGroup
	both.Go(func() { l.forward(l.client, l.server, func([]byte) bool { return false }) })
	both.Go(func() { l.forward(l.server, l.client, p.loses) })
	both.Wait()
	l.reset()
}

// add reports whether the link may go on: one that was made while the proxy closed or began to refuse may not.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return false
	default:
	}
	if p.faults.refuse {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// forward copies from one side to the other as the faults allow. An orderly end is passed on.
func (l *link) forward(from, to *net.TCPConn, loses func([]byte) bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.pass() {
			return
		}
		if n > 0 {
			if loses(buffer[:n]) {
				l.reset()
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				l.reset()
				return
			}
		}
		if err != nil {
			_ = to.CloseWrite()
			return
		}
	}
}

// pass waits as the faults ask for, and reports whether the link still stands.
func (l *link) pass() bool {
	now, changed := l.proxy.now(l)
	if now.latency > 0 {
		timer := time.NewTimer(now.latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.ended:
			return false
		}
	}
	for now.silent {
		select {
		case <-changed:
			now, changed = l.proxy.now(l)
		case <-l.ended:
			return false
		}
	}
	return true
}

// reset ends both sides with RST.
func (l *link) reset() {
	l.end.Do(func() { close(l.ended) })
	for _, side := range []*net.TCPConn{l.client, l.server} {
		if side != nil {
			_ = side.SetLinger(0)
			_ = side.Close()
		}
	}
}
