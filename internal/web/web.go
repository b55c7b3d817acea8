// Package web is the local page of `tcplab serve`: stored runs, a live one, their comparison, and, where that was allowed, the start of a new
// one. Everything can be read without script; the script only keeps a live page fresh.
//
// It is not for running or judging: a Lab does what the page asks for, and the report of a run is package page's. What is in a run's folder
// is taken for an outsider's work: nothing of it is served as it is but as a download, and result.json is drawn anew.
//
// Its one trap: whoever can read this page can see everything in it, and whoever can post to it can start what it offers, possibly as root.
// Every handler is behind guard (guard.go), and the mux is never served without it. docs/adr/0017 has the threats.
package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
)

// Options say what is served. Dir is required; the rest works when zero.
type Options struct {
	// Dir is the folder with the folders of runs. It need not exist yet.
	Dir string
	// Lang is the language for a browser that has not chosen one. Zero: English.
	Lang page.Lang
	// Catalogue lists the experiments that can be predicted and started.
	Catalogue []Experiment
	// Kernels are the kernels that a run can be booted on, by name. Empty: this machine's only.
	Kernels []string
	// Lab predicts and runs. Nil: neither.
	Lab Lab
	// AllowRun lets the page start runs. False: it shows the command that does.
	AllowRun bool
	// Diff compares two runs. Nil: only what was seen is put side by side.
	Diff func(a, b *result.Result) (result.Difference, error)
	// Beat is how long an event stream is silent at most. Zero: 15 s.
	Beat time.Duration
}

// Experiment is one entry of the catalogue.
type Experiment struct {
	Name, Summary, Question string
	Params                  []Param
}

// Param is a parameter of an experiment as the form shows it.
type Param struct {
	Flag    string
	Doc     string
	Takes   string            // "1 to 127"
	Choices []string          // the only values; empty: anything that Takes describes
	Under   map[string]string // value under each profile, "" where it is left alone
}

// Request is what a form asks for. Nothing in it was checked.
type Request struct {
	Experiment, Profile, Kernel string
	Values                      map[string]string // by flag; without what was left empty
}

// Lab predicts and makes runs.
type Lab interface {
	// Check says why a request cannot be meant: by flag, or under "" where no single one is to blame. Empty: it can.
	Check(Request) map[string]string
	// Predict says what will happen.
	Predict(Request) (*result.Prediction, error)
	// Run makes a run and returns when its lab is gone, also when the context ends. begun is called with the name of its folder in Dir.
	Run(ctx context.Context, q Request, begun func(name string)) error
	// Command is the command line that does the same.
	Command(Request) string
}

// Server serves one folder of runs until it is closed.
type Server struct {
	Options
	listener net.Listener
	keys     keys
	runs     *store
	jobs     jobs
	work     chan struct{} // limits what is drawn and computed at once
	streams  chan struct{} // limits event streams

	ending  chan struct{} // closed when the server ends: streams say goodbye
	endOnce sync.Once
}

// keys are the secrets of one process.
type keys struct {
	path    string // first part of every path: keeps the cookie from other servers on 127.0.0.1
	token   string // in the printed address
	session string // in the cookie
	form    string // in every form
}

func secret() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// Limits of a server. All are generous for a person and her tabs.
const (
	mostStreams  = 32
	mostWork     = 2
	mostClients  = 64
	mostHeader   = 16 << 10
	mostBody     = 16 << 10
	answerWithin = 60 * time.Second // writing one answer; a stream: one message
)

// New makes a server on 127.0.0.1 and this port, 0 for any that is free. Nobody else than this machine can reach it.
func New(port int, o Options) (*Server, error) {
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	if o.Beat == 0 {
		o.Beat = 15 * time.Second
	}
	if o.Lang == "" {
		o.Lang = page.English
	}
	return &Server{Options: o, listener: l, runs: newStore(o.Dir), keys: keys{secret(), secret(), secret(), secret()}, work: make(chan struct{}, mostWork),
		streams: make(chan struct{}, mostStreams), ending: make(chan struct{})}, nil
}

// URL is the address that a browser is given, with the token.
func (s *Server) URL() string {
	return fmt.Sprintf("http://%s/?token=%s", s.listener.Addr(), s.keys.token)
}

// Serve answers until the context ends. Then it says goodbye to event streams, ends a run that it started, waits until that is taken down,
// and closes.
func (s *Server) Serve(ctx context.Context) error {
	srv := &http.Server{
		Handler: s.guard(s.routes()), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: mostHeader,
		ErrorLog: log.New(io.Discard, "", 0), // a client that went away is nobody's business
	}
	s.jobs.open(ctx)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(limited{s.listener, make(chan struct{}, mostClients)}) }()
	var err error
	select {
	case err = <-done:
		done = nil
	case <-ctx.Done():
	}
	s.endOnce.Do(func() { close(s.ending) })
	s.jobs.close()
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if serr := srv.Shutdown(drain); serr != nil {
		_ = srv.Close()
	}
	if done != nil {
		err = <-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// limited accepts no more connections than it has room for.
type limited struct {
	net.Listener
	room chan struct{}
}

// Accept returns the next client. Who comes while there is no room is turned away at once.
func (l limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &leaving{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			_ = c.Close()
		}
	}
}

// leaving makes room when it is closed.
type leaving struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (l *leaving) Close() error {
	defer l.leave()
	return l.Conn.Close()
}

// routes are all pages. Every path begins with the process's own part. What changes something is posted; all else is only read.
func (s *Server) routes() *http.ServeMux {
	m := http.NewServeMux()
	at := func(method, path string, h func(http.ResponseWriter, *http.Request) error) {
		m.HandleFunc(method+" /"+s.keys.path+path, func(w http.ResponseWriter, r *http.Request) {
			// ReadTimeout is for the request. What follows may take long.
			c := http.NewResponseController(w)
			_ = c.SetWriteDeadline(time.Now().Add(answerWithin))
			if err := h(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	at("GET", "/{$}", s.list)
	at("GET", "/events", s.listEvents)
	at("GET", "/runs/{run}/{$}", s.run)
	at("GET", "/runs/{run}/events", s.runEvents)
	at("GET", "/runs/{run}/ladder.svg", s.ladder)
	at("GET", "/runs/{run}/files/{file}", s.download)
	at("GET", "/report", s.report)
	at("GET", "/compare", s.compare)
	at("GET", "/new", s.catalogue)
	at("GET", "/new/{experiment}", s.form)
	at("GET", "/predict/{experiment}", s.predict)
	at("POST", "/new/{experiment}", s.start)
	at("POST", "/stop", s.stop)
	at("GET", "/style.css", s.asset("text/css; charset=utf-8", page.Style()+webStyle))
	at("GET", "/live.js", s.asset("text/javascript; charset=utf-8", webScript))
	return m
}

func (s *Server) asset(kind, text string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", kind)
		_, err := io.WriteString(w, text)
		return err
	}
}

// path is the address of a page of this process, from its parts.
func (s *Server) path(rest string) string { return "/" + s.keys.path + rest }

// working waits for its turn to draw or compute. The caller calls what it returns when it is done.
func (s *Server) working(ctx context.Context) (func(), error) {
	select {
	case s.work <- struct{}{}:
		return func() { <-s.work }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
