package runner

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/kernel"
)

// wallClock is CLOCK_REALTIME less CLOCK_MONOTONIC. The two move together, but for a step of the former.
type wallClock struct{ offset time.Duration }

// readWall measures the offset between two reads of CLOCK_MONOTONIC, and keeps the tightest of several tries.
func readWall() (wallClock, error) {
	var best wallClock
	tightest := time.Duration(1<<63 - 1)
	for range 16 {
		a, err := kernel.MonotonicNow()
		if err != nil {
			return wallClock{}, err
		}
		wall := time.Now()
		b, err := kernel.MonotonicNow()
		if err != nil {
			return wallClock{}, err
		}
		if b-a < tightest {
			tightest, best = b-a, wallClock{time.Duration(wall.UnixNano()) - (a+b)/2}
		}
	}
	return best, nil
}

// mono is the CLOCK_MONOTONIC time of a packet's stamp.
func (w wallClock) mono(t time.Time) time.Duration { return time.Duration(t.UnixNano()) - w.offset }

// wallWatch keeps how far CLOCK_REALTIME was from where it stood at the start, at most. The kernel tells of each time that the clock is set, through a
// timer that setting it cancels: a step there and back, which the offset at the end does not show, falsifies the stamps between the two.
type wallWatch struct {
	start wallClock
	timer *os.File
	over  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	most time.Duration // with its sign
}

// farOff is when the timer would run: never in a run.
const farOff = 10 * 365 * 24 * time.Hour

// watchWall begins with the clock as it is now.
func watchWall() (*wallWatch, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch CLOCK_REALTIME: %w", err)
	}
	w := &wallWatch{timer: os.NewFile(uintptr(fd), "timerfd"), over: make(chan struct{})}
	if err := w.arm(); err != nil {
		return nil, errors.Join(err, w.timer.Close())
	}
	if w.start, err = readWall(); err != nil { // after it is armed: a step between the two is told of
		return nil, errors.Join(err, w.timer.Close())
	}
	go w.follow()
	return w, nil
}

func (w *wallWatch) arm() error {
	conn, err := w.timer.SyscallConn()
	if err != nil {
		return err
	}
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(farOff).UnixNano())}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &at, nil)
	})
	// ECANCELED: the clock was set since it was armed, and it is armed anew.
	if err := errors.Join(err, failed); err != nil && !errors.Is(err, unix.ECANCELED) {
		return fmt.Errorf("watch CLOCK_REALTIME: %w", err)
	}
	return nil
}

// follow reads the clock each time that it was set, until the timer is closed.
func (w *wallWatch) follow() {
	defer close(w.over)
	ticks := make([]byte, 8)
	for {
		if _, err := w.timer.Read(ticks); err != nil && !errors.Is(err, unix.ECANCELED) {
			return
		}
		if w.look() != nil || w.arm() != nil {
			return
		}
	}
}

// look keeps where the clock is, if that is further off than before.
func (w *wallWatch) look() error {
	now, err := readWall()
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if off := now.offset - w.start.offset; off.Abs() > w.most.Abs() {
		w.most = off
	}
	return nil
}

// stop ends the watch with a last look, and returns how far the clock was off at most. A second call changes nothing.
func (w *wallWatch) stop() (most time.Duration, err error) {
	w.once.Do(func() {
		err = errors.Join(w.timer.Close(), w.look())
		<-w.over
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most, err
}
