package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"
)

// How often a stream looks: at the events of a run, and at the list.
const (
	lookEvery = 100 * time.Millisecond
	listEvery = time.Second
	goneAfter = 10 // looks between two at whether the run is over
)

// stream is one event stream (Server-Sent Events).
type stream struct {
	w    http.ResponseWriter
	c    *http.ResponseController
	sent time.Time
}

// openStream makes an answer an event stream. The caller calls leave at its end.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request) (st *stream, leave func(), err error) {
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, nil, &problem{http.StatusServiceUnavailable, "too many pages are open"}
	}
	st = &stream{w: w, c: http.NewResponseController(w)}
	_ = st.c.SetReadDeadline(time.Time{}) // the request is over; the stream is not
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		<-s.streams
		return nil, nil, nil
	}
	if err := st.write("retry: 1000\n\n"); err != nil {
		<-s.streams
		return nil, nil, nil // the client went away
	}
	return st, func() { <-s.streams }, nil
}

// write writes a part of the stream, within a time: a client that does not read must not hold it for ever.
func (st *stream) write(text string) error {
	_ = st.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(st.w, text); err != nil {
		return err
	}
	st.sent = time.Now()
	return st.c.Flush()
}

// send writes one event.
func (st *stream) send(id, kind string, data any) error {
	text, err := st.text(id, kind, data)
	if err != nil {
		return err
	}
	return st.write(text)
}

// text is one event. JSON has no line breaks, so that data cannot end it early.
func (st *stream) text(id, kind string, data any) (string, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	text := ""
	if id != "" {
		text = "id: " + id + "\n"
	}
	return text + "event: " + kind + "\ndata: " + string(b) + "\n\n", nil
}

// beat keeps a silent stream alive, and finds out whether somebody still reads.
func (st *stream) beat(every time.Duration) error {
	if time.Since(st.sent) < every {
		return nil
	}
	return st.write(": beat\n\n")
}

// follow calls look again and again until it says that it is done, the client goes away, or the server ends.
func (s *Server) follow(r *http.Request, st *stream, every time.Duration, look func() (done bool, err error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := look()
		if err == nil && !done {
			err = st.beat(s.Beat)
		}
		if done || err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.ending:
			_ = st.send("", "bye", nil)
			return
		}
	}
}

// runEvents streams a run: its rows, its status, its verdict, and at last that it is over. The id of a message is the offset in
// events.ndjson of the line after it, so that the file itself is what is replayed from Last-Event-ID.
func (s *Server) runEvents(w http.ResponseWriter, r *http.Request) error {
	run := r.PathValue("run")
	if parts(run) == nil {
		return errNoRun
	}
	st, leave, err := s.openStream(w, r)
	if st == nil {
		return err
	}
	defer leave()
	f := &follower{s: s, st: st, run: run, v: s.words(r), from: lastID(r)}
	defer f.close()
	s.follow(r, st, lookEvery, f.look)
	return nil
}

// lastID is where a client wants to go on: what it saw last, or what the page already showed.
func lastID(r *http.Request) int64 {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// follower follows one run.
type follower struct {
	s     *Server
	st    *stream
	run   string
	v     words
	from  int64
	file  *os.File
	tail  *tail
	looks int
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
	}
}

func (f *follower) look() (bool, error) {
	over := ""
	if f.looks%goneAfter == 0 {
		over = f.over()
	}
	f.looks++
	if f.file == nil {
		file, info, err := f.s.runs.open(f.run, "events.ndjson")
		switch {
		case err == nil:
			f.file = file
			f.tail = newTail(file, resume(file, info.Size(), f.from))
		case !errors.Is(err, fs.ErrNotExist):
			return true, f.st.send("", "over", map[string]string{"state": "gone"})
		}
	}
	if f.tail != nil {
		if err := f.pass(); err != nil {
			return false, err
		}
	}
	if over == "" {
		return false, nil
	}
	return true, f.st.send("", "over", map[string]string{"state": over})
}

// over is in which state a run ended; empty: it goes on.
func (f *follower) over() string {
	sum := f.s.runs.summary(f.run)
	if sum.State == stateDone || sum.State == stateBad || sum.State == stateMatrix {
		return sum.State
	}
	if sum.State == stateLive || f.s.jobs.has(f.run) {
		return ""
	}
	return stateBroken
}

// pass sends what is new. Of statuses in a row the newest is enough.
func (f *follower) pass() error {
	var status *statusLine
	statusID := ""
	flush := func() error {
		l := status
		if status = nil; l == nil {
			return nil
		}
		return f.st.send(statusID, "status", f.v.status(l))
	}
	for {
		l, at, err := f.tail.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		id := strconv.FormatInt(at, 10)
		if l.Status != nil {
			status, statusID = l.Status, id
			continue
		}
		kind, data := f.v.message(l)
		if kind == "" {
			continue
		}
		if err := errors.Join(flush(), f.st.send(id, kind, data)); err != nil {
			return err
		}
	}
}

// message is what a stream says of a line that is no status; kind is empty where it says nothing.
func (v words) message(l line) (kind string, data any) {
	switch {
	case l.Start != nil:
		return "start", v.rowsOf(l.Start)
	case l.Event != nil:
		return "row", v.row(*l.Event)
	case l.End != nil:
		return "verdict", v.end(l.End)
	}
	return "", nil
}

// listEvents tells a list that it is not what it was.
func (s *Server) listEvents(w http.ResponseWriter, r *http.Request) error {
	st, leave, err := s.openStream(w, r)
	if st == nil {
		return err
	}
	defer leave()
	was := r.Header.Get("Last-Event-ID")
	if was == "" {
		was = r.URL.Query().Get("after")
	}
	s.follow(r, st, listEvery, func() (bool, error) {
		now := s.listMark()
		if now == was {
			return false, nil
		}
		was = now
		return false, st.send(now, "changed", nil)
	})
	return nil
}

// fail answers with an error, unless the answer has begun.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusInternalServerError, err.Error()
	var p *problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		status = p.status
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errNoRun), errors.Is(err, fs.ErrNotExist):
		status, text = http.StatusNotFound, "there is no such page"
	case r.Context().Err() != nil:
		return
	}
	v := s.words(r)
	s.show(w, r, status, "problem", view{Title: fmt.Sprint(status), Body: v.t(text)})
}
