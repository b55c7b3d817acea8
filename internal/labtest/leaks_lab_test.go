//go:build lab

package labtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLeaksReportsNamespaces is the negative control for what only root can leave behind: a namespace that a process or a
// descriptor holds, a named namespace, and a link in the host's namespace. It catches a check that looks in the wrong place.
func TestLeaksReportsNamespaces(t *testing.T) {
	Need(t, Root, Command("ip"), Command("unshare"))
	name := fmt.Sprintf("tcplab-leak-%d", os.Getpid())
	tests := []struct {
		name string
		leak func(t *testing.T)
		want string
	}{
		{"held by a process", func(t *testing.T) { startSleeper(t, "unshare", "--net", "sleep", "60") }, "] held by process "},
		{"held by a descriptor", func(t *testing.T) {
			ip(t, "netns", "add", name)
			f, err := os.Open("/run/netns/" + name)
			ip(t, "netns", "delete", name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closed(t, f) })
		}, "] held by descriptor "},
		{"named", func(t *testing.T) {
			ip(t, "netns", "add", name)
			t.Cleanup(func() { ip(t, "netns", "delete", name) })
		}, "named namespace /run/netns/" + name + " net:["},
		{"link", func(t *testing.T) {
			link := fmt.Sprintf("leak%d", os.Getpid())
			ip(t, "link", "add", link, "type", "veth")
			t.Cleanup(func() { ip(t, "link", "delete", link) })
		}, ": leak"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			code := leaks(func() int { tt.leak(t); return 0 }, 500*time.Millisecond, &out)
			if got := out.String(); code != 1 || !strings.Contains(got, tt.want) {
				t.Errorf("got exit code %d and report %q, want 1 and %q", code, got, tt.want)
			}
		})
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
}
