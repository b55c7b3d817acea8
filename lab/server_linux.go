package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Server is a listening TCP server on a host.
type Server struct {
	Addr netip.AddrPort
	l    net.Listener
	http *http.Server
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Listen starts a server on this host. Its socket lives in the host's namespace; its goroutines need not.
func (h *Host) Listen(ctx context.Context, o ListenOptions) (*Server, error) {
	if o.Port == 0 {
		o.Port = 8080
	}
	addr := netip.AddrPortFrom(h.Addr, o.Port)
	lc := net.ListenConfig{KeepAlive: -1} // Go switches keepalive on by default: probes would end long experiments
	if o.KeepAlive {
		lc.KeepAlive = 0
	}
	lc.SetMultipathTCP(false)
	s := &Server{Addr: addr, conns: map[net.Conn]struct{}{}}
	err := h.ns.Do(func() (err error) {
		s.l, err = lc.Listen(ctx, "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w", h.Name, addr, err)
	}
	s.wg.Add(1)
	if o.Echo {
		go s.echo()
	} else {
		s.http = &http.Server{Handler: http.HandlerFunc(hello)}
		go func() {
			defer s.wg.Done()
			_ = s.http.Serve(s.l) // always returns ErrServerClosed after Close
		}()
	}
	h.onClose(s.Close)
	return s, nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "tcplab: you asked for %s\n", r.URL.Path)
}

func (s *Server) echo() {
	defer s.wg.Done()
	for {
		c, err := s.l.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			_, _ = io.Copy(c, c) // the peer's errors are the experiment, not ours
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// Close stops listening, ends the connections and waits for them. Calling it again does nothing.
func (s *Server) Close() error {
	var err error
	if s.http != nil {
		err = s.http.Close()
	} else {
		err = s.l.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
	}
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
