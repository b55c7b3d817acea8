//go:build lab

package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

// engineOf is the engine among this process's children; 0: there is none.
func engineOf(parent int) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(b), " (")
		name, rest, _ := strings.Cut(rest, ") ")
		if f := strings.Fields(rest); strings.HasPrefix(engine, name) && len(f) > 1 && f[1] == strconv.Itoa(parent) {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	return 0
}

// An engine that somebody kills is an error that says so, and not a guest that gave up.
func TestKilled(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"))
	k, err := Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	program := guestProgram(t)
	killed := make(chan error, 1)
	go func() {
		look := time.NewTicker(20 * time.Millisecond)
		defer look.Stop()
		for range 1500 {
			<-look.C
			if pid := engineOf(os.Getpid()); pid != 0 {
				killed <- syscall.Kill(pid, syscall.SIGKILL)
				return
			}
		}
		killed <- errors.New("no engine was seen")
	}()
	_, err = Run(t.Context(), Options{Kernel: k, Program: program, Request: []byte("spin"), Wall: time.Minute}, func(Message) error { return nil })
	if kerr := <-killed; kerr != nil {
		t.Fatal(kerr)
	}
	var end *EndError
	if !errors.As(err, &end) || !strings.Contains(end.Why, "was ended by killed") {
		t.Errorf("got %v, want an EndError that names the signal", err)
	}
}
