//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// loginCounts are what a pod of hack/loginapp has counted.
type loginCounts struct {
	Tried   int    `json:"tried"`
	Failed  int    `json:"failed"`
	Problem string `json:"problem"`
}

func (c *loginCounts) add(o loginCounts) { c.Tried, c.Failed = c.Tried+o.Tried, c.Failed+o.Failed }

// logins gathers the counts of all pods that there have been. A pod tells them when it is asked, and leaves them behind as its
// termination message when it ends.
type logins struct {
	e    *environment
	mu   sync.Mutex
	pods map[types.UID]*loginPod
}

type loginPod struct {
	namespace, name, service string
	running, gone            bool
	// asked is what its container said that runs.
	asked loginCounts
	// left is what each container left that ended, by its id.
	left map[string]loginCounts
	// lost says how a container ended that left nothing.
	lost []string
}

func watchLogins(t *testing.T, e *environment, namespaces ...string) *logins {
	t.Helper()
	l := &logins{e: e, pods: map[types.UID]*loginPod{}}
	for _, namespace := range namespaces {
		watch(t, e.informers(namespace).Core().V1().Pods().Informer(), func(object any, gone bool) {
			if pod, ok := object.(*corev1.Pod); ok {
				l.note(pod, gone)
			}
		})
	}
	return l
}

// note takes note of a pod as it is or, when it is gone, was last.
func (l *logins) note(pod *corev1.Pod, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pods[pod.UID]
	if p == nil {
		p = &loginPod{namespace: pod.Namespace, name: pod.Name, service: pod.Labels["app"], left: map[string]loginCounts{}}
		l.pods[pod.UID] = p
	}
	p.gone, p.running = gone, false
	for _, container := range pod.Status.ContainerStatuses {
		p.running = p.running || container.State.Running != nil
		p.end(container.LastTerminationState.Terminated)
		p.end(container.State.Terminated)
	}
	if gone && p.running {
		p.lost = append(p.lost, "it ran when it was last seen")
	}
}

// end takes note of what a container left behind; nil is one that has not ended.
func (p *loginPod) end(ended *corev1.ContainerStateTerminated) {
	if ended == nil {
		return
	}
	if _, known := p.left[ended.ContainerID]; known {
		return
	}
	var counts loginCounts
	// The one that refuses to start exits with 1 and has tried nothing.
	if err := json.Unmarshal([]byte(ended.Message), &counts); err != nil && (p.service != picky || ended.ExitCode != 1) {
		p.lost = append(p.lost, fmt.Sprintf("a container ended with code %d (%s) and left no counts", ended.ExitCode, ended.Reason))
	}
	p.left[ended.ContainerID], p.asked = counts, loginCounts{}
}

// perService adds up what the pods of each service have counted so far.
func (l *logins) perService(t *testing.T) map[string]loginCounts {
	t.Helper()
	l.ask(t.Context())
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := map[string]loginCounts{}
	for _, p := range l.pods {
		counts := sum[p.service]
		counts.add(p.asked)
		for _, left := range p.left {
			counts.add(left)
		}
		sum[p.service] = counts
	}
	return sum
}

// ask asks the pods that run. One that ends meanwhile leaves its counts behind, and what it said before counts until then.
func (l *logins) ask(ctx context.Context) {
	l.mu.Lock()
	var running []*loginPod
	for _, p := range l.pods {
		if p.running {
			running = append(running, p)
		}
	}
	l.mu.Unlock()
	for _, p := range running {
		answer, err := l.e.clientset.CoreV1().Pods(p.namespace).ProxyGet("http", p.name, "8080", "/", nil).DoRaw(ctx)
		var counts loginCounts
		if err != nil || json.Unmarshal(answer, &counts) != nil {
			continue
		}
		l.mu.Lock()
		if p.running {
			p.asked = counts
		}
		l.mu.Unlock()
	}
}

// allGone reports whether no pod is left.
func (l *logins) allGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pods {
		if !p.gone {
			return false
		}
	}
	return len(l.pods) > 0
}

// total is what all pods have left behind, when none is left. A pod that left nothing fails the test: its failures would be lost.
func (l *logins) total(t *testing.T) (sum loginCounts) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pods {
		for _, left := range p.left {
			sum.add(left)
		}
		for _, how := range p.lost {
			t.Errorf("the counts of pod %s are lost: %s", p.name, how)
		}
	}
	return sum
}

// problems are the first failures of each container, one a line.
func (l *logins) problems() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, p := range l.pods {
		for _, left := range p.left {
			if left.Problem != "" {
				lines = append(lines, fmt.Sprintf("%s, pod %s: %d failed, the first at %s", p.service, p.name, left.Failed, left.Problem))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
