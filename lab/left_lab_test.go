//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

// TestCloseHoldsTheNumber catches a Close that looks for who is left in a namespace by a number that may be another namespace's by then: as long as it
// looks it must hold the namespace, and no longer.
func TestCloseHoldsTheNumber(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.Command("nsenter"), labtest.Command("sleep"))
	t.Parallel()
	l, err := New(t.Context(), Topology{})
	if err != nil {
		t.Fatal(err)
	}
	inode, err := l.Client.ns.Inode()
	if err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("net:[%d]", inode)
	stays := exec.Command("nsenter", "--net="+l.Client.ns.Path(), "sleep", "60")
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(func() bool {
		at, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", stays.Process.Pid))
		return err == nil && at == link
	})
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	eventually(func() bool { // the thread is gone: it looks for the others
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", l.Client.ns.Thread()))
		return errors.Is(err, os.ErrNotExist)
	})
	<-time.After(100 * time.Millisecond) // and the namespace's own descriptor
	if n := descriptorsOf(t, link); n != 1 {
		t.Errorf("while somebody is in it: got %d descriptors of the namespace, want 1", n)
	}
	if err := stays.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = stays.Wait() // it was killed
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n := descriptorsOf(t, link); n != 0 {
		t.Errorf("after it: got %d descriptors, want none", n)
	}
}

// descriptorsOf counts this process's descriptors that lead to something.
func descriptorsOf(t *testing.T, link string) (n int) {
	t.Helper()
	found, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if to, err := os.Readlink(f); err == nil && to == link {
			n++
		}
	}
	return n
}
