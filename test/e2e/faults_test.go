//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// redisDownLimit is how long a rotation may take to reach the Secret while Redis
// is away.
const redisDownLimit = 10 * time.Second

// TestRotationWithoutRedis stops Redis, rotates, and starts Redis again.
func TestRotationWithoutRedis(t *testing.T) {
	e := newEnvironment(t)
	first, second := randomValue(), randomValue()
	e.put(t, e.path("database"), first)
	e.vaultSecret(t, e.namespace, "database", e.path("database"))
	e.waitForValue(t, "database", first)

	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	must(t, err)
	connection := redis.NewClient(options)
	t.Cleanup(func() { _ = connection.Close() })
	t.Cleanup(startAgain(t))
	// The server hangs up instead of answering, which the client reports.
	_ = connection.ShutdownNoSave(t.Context()).Err()
	eventually(t, "Redis to stop", func(ctx context.Context) (bool, error) {
		return connection.Ping(ctx).Err() != nil, nil
	})

	coffer(t, second, "rotate", e.path("database"))
	if took := e.waitForValue(t, "database", second); took > redisDownLimit {
		t.Errorf("the Secret changed %s after the rotation; the limit is %s", took, redisDownLimit)
	}
}

// startAgain brings back what a test took away, as a person would: make up
// starts what does not run.
func startAgain(t *testing.T) func() {
	return func() {
		cmd := exec.Command("go", "run", "./hack/local", "up")
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("starting the environment again: %v\n%s", err, out)
		}
	}
}

// TestOperatorKilledDuringRotation kills every replica with SIGKILL right after a
// rotation is acknowledged.
func TestOperatorKilledDuringRotation(t *testing.T) {
	e := newEnvironment(t)
	first, second := randomValue(), randomValue()
	e.put(t, e.path("database"), first)
	e.vaultSecret(t, e.namespace, "database", e.path("database"))
	e.waitForValue(t, "database", first)

	coffer(t, second, "rotate", e.path("database"))
	killed := e.killManagers(t)
	e.waitForValue(t, "database", second)
	e.waitForManagers(t, killed)
}

// killManagers sends SIGKILL to the manager processes of this installation: those
// whose arguments begin with the image's entry point. It returns how often each
// pod had been restarted before.
func (e *environment) killManagers(t *testing.T) (restarts map[string]int32) {
	t.Helper()
	restarts = map[string]int32{}
	for _, pod := range e.managers(t) {
		restarts[pod.Name] = restartsOf(pod)
	}
	commandLines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	killed := 0
	for _, file := range commandLines {
		content, err := os.ReadFile(file)
		if err != nil || len(content) < len("/manager\x00") || string(content[:len("/manager\x00")]) != "/manager\x00" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		must(t, err)
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("found no manager process to kill")
	}
	return restarts
}

// managers are the pods of the installation.
func (e *environment) managers(t *testing.T) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	must(t, e.client.List(t.Context(), &pods, client.InNamespace(installation), client.MatchingLabels{"app.kubernetes.io/name": "coffer"}))
	return pods.Items
}

// waitForManagers waits until all replicas are ready again after killManagers, and
// the API answers. A pod that counts no restart yet only looks ready: the kubelet
// has not noticed that its process is gone.
func (e *environment) waitForManagers(t *testing.T, before map[string]int32) {
	t.Helper()
	eventually(t, "all replicas to be ready again", func(context.Context) (bool, error) {
		pods := e.managers(t)
		for _, pod := range pods {
			count, known := before[pod.Name]
			if !isReady(pod) || known && restartsOf(pod) <= count {
				return false, nil
			}
		}
		return len(pods) >= 2, nil
	})
	eventually(t, "the API to answer", func(ctx context.Context) (bool, error) {
		_, err := tryCoffer(ctx, "", "whoami")
		return err == nil, err
	})
}

func restartsOf(pod corev1.Pod) int32 {
	var n int32
	for _, container := range pod.Status.ContainerStatuses {
		n += container.RestartCount
	}
	return n
}

func isReady(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
