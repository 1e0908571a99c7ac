// Package kubeproxy stands between a client and a real kube-apiserver, and answers
// chosen requests with what API servers answer when they are overloaded, restarted or
// cut off; also after the request was carried out. It tells which requests came.
package kubeproxy

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// RawText stands in the message of every answer of the proxy's own.
const RawText = "etcdserver: c4nary of the API server's own words"

// Fault is what happens to some requests.
type Fault struct {
	// Requests chooses them. The request must not be changed, nor its body read.
	Requests func(*http.Request) bool
	// Times is how many of them it happens to, before the proxy is as if without fault.
	Times int
	// Status is the answer's HTTP status: 409, 429, 500, 503 or 504. 0 ends the connection
	// without an answer.
	Status int
	// Reason of the answer; that which fits Status when empty.
	Reason metav1.StatusReason
	// Landed says that the API server carries the request out first.
	Landed bool
}

// Proxy is safe for concurrent use.
type Proxy struct {
	server  *httptest.Server
	forward *httputil.ReverseProxy

	mu       sync.Mutex
	faults   []*Injected
	requests []Request
}

// Injected is a Fault in force.
type Injected struct {
	Fault
	proxy *Proxy
	left  int // guarded by proxy.mu
}

// Left is how many requests the fault has still to happen to.
func (i *Injected) Left() int {
	i.proxy.mu.Lock()
	defer i.proxy.mu.Unlock()
	return i.left
}

// Start puts a proxy before the API server of config, for the time of the test. Who asks
// it has config's rights, or those of the user whom the request impersonates.
func Start(t testing.TB, config *rest.Config) *Proxy {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{forward: &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorLog:      log.New(io.Discard, "", 0),
	}}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	t.Cleanup(func() {
		p.server.CloseClientConnections() // watches do not end by themselves
		p.server.Close()
	})
	return p
}

// Config leads through the proxy.
func (p *Proxy) Config() *rest.Config {
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return &rest.Config{Host: p.server.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: certificate}}
}

// Inject puts a fault into force. Of several that choose a request the first happens.
func (p *Proxy) Inject(f Fault) *Injected {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := &Injected{Fault: f, proxy: p, left: f.Times}
	p.faults = append(p.faults, i)
	return i
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// next takes the fault that happens to r; ok is false when none does.
func (p *Proxy) next(r *http.Request) (f Fault, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.faults, func(i *Injected) bool { return i.left > 0 && i.Requests(r) })
	if at < 0 {
		return Fault{}, false
	}
	p.faults[at].left--
	return p.faults[at].Fault, true
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.note(r)
	fault, ok := p.next(r)
	if !ok {
		p.forward.ServeHTTP(w, r)
		return
	}
	if fault.Landed {
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
	}
	if fault.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	fault.answer(w)
}

// reasons are those that API servers give with a status.
var reasons = map[int]metav1.StatusReason{
	http.StatusConflict:            metav1.StatusReasonConflict,
	http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
	http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
}

func (f Fault) answer(w http.ResponseWriter) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: int32(f.Status), Reason: f.Reason, Message: RawText, Details: &metav1.StatusDetails{},
	}
	if status.Reason == "" {
		status.Reason = reasons[f.Status]
	}
	if f.Status == http.StatusTooManyRequests {
		const seconds = 1 // the least that can be said
		status.Details.RetryAfterSeconds = seconds
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(status) // the client may be gone
}
