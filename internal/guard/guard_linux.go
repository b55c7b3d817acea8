package guard

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func init() {
	if len(os.Args) == 2 && os.Args[0] == Name {
		watch(os.Stdin, func() { sweep(os.Args[1]) })
		os.Exit(0)
	}
}

// Guard is a guard at work. A nil Guard does nothing.
type Guard struct {
	mu   sync.Mutex
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// Start starts a guard for this process, and marks the programs that this process starts from now on. Where it cannot be started, there is
// none: it is for what should not happen.
func Start() *Guard {
	token := rand.Text()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{Name, token}
	cmd.Env = []string{"GOMAXPROCS=1", "GORACE=" + os.Getenv("GORACE")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // neither a Ctrl-C nor the end of the terminal is for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil
	}
	if err := os.Setenv(variable, token); err != nil {
		pipe.Close()
		return nil
	}
	if err := cmd.Start(); err != nil {
		pipe.Close()
		return nil
	}
	return &Guard{cmd: cmd, pipe: pipe}
}

func (g *Guard) say(m message) {
	if g == nil {
		return
	}
	b, err := json.Marshal(m)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = g.pipe.Write(append(b, '\n')) // a guard that somebody killed guards nothing
}

// Bye ends the guard: everything was undone. It may be called again.
func (g *Guard) Bye() {
	g.say(message{Op: opBye})
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd == nil {
		return
	}
	g.pipe.Close()
	late := time.AfterFunc(time.Second, func() { _ = g.cmd.Process.Kill() })
	_ = g.cmd.Wait()
	late.Stop()
	g.cmd = nil
}

// sweep kills the programs that carry the token, and what they started, until there is none.
func sweep(token string) {
	mark := []byte("\x00" + variable + "=" + token + "\x00")
	for range 100 { // each round ends what it finds: a program can start others meanwhile, but not for ever
		found := false
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				continue
			}
			p, err := os.FindProcess(pid) // by pidfd: another process that gets the number later is safe
			if err != nil {
				continue
			}
			env, err := os.ReadFile(filepath.Join(dir, "environ"))
			if err == nil && bytes.Contains(append([]byte{0}, env...), mark) && p.Kill() == nil {
				found = true
			}
			_ = p.Release()
		}
		if !found {
			return
		}
	}
}
