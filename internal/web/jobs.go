package web

import (
	"context"
	"errors"
	"sync"
)

// errStopped is the cause with which a run is ended from the page.
var errStopped = errors.New("stopped from the page")

// errBusy says that a run goes on. Two labs at once would disturb each other's times.
var errBusy = errors.New("another run goes on")

// jobs holds the run that this server started, if one goes on, and why the last one came to nothing.
type jobs struct {
	mu   sync.Mutex
	ctx  context.Context
	now  *job
	last string // why the last run came to nothing; empty: it did not
	wait sync.WaitGroup
}

// job is one run.
type job struct {
	Request Request
	Command string
	Name    string // of its folder; empty: it has none yet
	cancel  context.CancelCauseFunc
	begun   chan struct{} // closed when it has its name
	done    chan struct{}
	err     error
}

func (j *jobs) open(ctx context.Context) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ctx = ctx
}

// close ends what goes on and waits until it is taken down.
func (j *jobs) close() {
	j.mu.Lock()
	if j.now != nil {
		j.now.cancel(context.Cause(j.ctx))
	}
	j.ctx = nil
	j.mu.Unlock()
	j.wait.Wait()
}

// start starts a run, unless one goes on.
func (j *jobs) start(l Lab, q Request) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now != nil {
		return nil, errBusy
	}
	if j.ctx == nil || j.ctx.Err() != nil {
		return nil, errors.New("the server ends")
	}
	ctx, cancel := context.WithCancelCause(j.ctx)
	n := &job{Request: q, Command: l.Command(q), cancel: cancel, begun: make(chan struct{}), done: make(chan struct{})}
	j.now, j.last = n, ""
	once := sync.OnceFunc(func() { close(n.begun) })
	j.wait.Go(func() {
		defer cancel(nil)
		err := l.Run(ctx, q, func(name string) {
			j.mu.Lock()
			n.Name = name
			j.mu.Unlock()
			once()
		})
		j.mu.Lock()
		defer j.mu.Unlock()
		n.err = err
		j.now = nil
		if err != nil && !errors.Is(context.Cause(ctx), errStopped) {
			j.last = err.Error()
		}
		close(n.done)
	})
	return n, nil
}

// stop ends the run that goes on.
func (j *jobs) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now != nil {
		j.now.cancel(errStopped)
	}
}

// has reports whether the run that goes on has this name.
func (j *jobs) has(name string) bool {
	now, _ := j.state()
	return now != nil && now.Name == name
}

// state is the run that goes on, a copy, or nil; and why the last one came to nothing.
func (j *jobs) state() (now *job, last string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now == nil {
		return nil, j.last
	}
	return &job{Request: j.now.Request, Command: j.now.Command, Name: j.now.Name}, j.last
}
