package deadpeer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/lab/labtest"
	"github.com/tcplab/tcplab/predict"
)

// With TCPLAB_KERNEL=6.12 the tests run on that kernel, in virtual time.
func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// echo is a server of one's own: it sends back what comes.
func echo(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// TestDeadPeer: the peer vanishes without a word in the middle of a conversation. The client's question is repeated as the kernel's timers say,
// and the client learns that nobody is there when tcp_retries2, which is a time, is over.
func TestDeadPeer(t *testing.T) {
	l := labtest.New(t, lab.Topology{})
	l.Set(l.Client, "net.ipv4.tcp_retries2", "3") // some 3 s; the default of 15 is a quarter of an hour
	ln, err := l.Server.NetListen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	go echo(ln)

	c := Client{Dial: l.Client.DialContext}
	opening := time.Now()
	if err := c.Open(t.Context(), "server:7"); err != nil {
		t.Fatal(err)
	}
	began := time.Now() // not before the first SYN, from which the prediction counts: on a busy machine what comes may be late, but nothing comes early
	defer c.Close()
	time.Sleep(50 * time.Millisecond) // this pause and the next are the experiment: when the client asks decides when each timer fires
	asked := time.Since(began)
	if answer, err := c.Ask("hello"); err != nil || answer != "hello" {
		t.Fatalf("got %q, %v, want an echo", answer, err)
	}

	l.Drop(l.Server, lab.DropAllFrom(l.Client.Addr)) // from here on the server hears nothing
	time.Sleep(300 * time.Millisecond)

	wrote := time.Since(began)
	_, err = c.Ask("anyone?")
	died := time.Since(opening)

	// The prediction stands on the kernel, the client's settings and the times of our own two calls. It sees no packet.
	k, kerr := predict.Running()
	want, perr := predict.BlackHole(k, l.Client, predict.Data{Exchange: asked, Request: len("hello\n"), Write: wrote, Bytes: len("anyone?\n")})
	if kerr != nil || perr != nil {
		t.Fatal(kerr, perr)
	}
	if !errors.Is(err, syscall.ETIMEDOUT) || want.Outcome.Errno != "ETIMEDOUT" {
		t.Fatalf("got %v, want %s", err, want.Outcome.Errno)
	}
	if !want.Outcome.Holds(died) {
		t.Logf("died after %v, by the kernel's rules between %v and %v: this machine is busy, or something is wrong", died, want.Outcome.Earliest, want.Outcome.Latest)
		if died < want.Outcome.Earliest {
			t.Error("too early: a timer never fires before its time")
		}
	}
	l.Expect(want)
}

// TestLateSYN: the first SYN is lost. An http.Client in the lab waits a second longer, and no more.
func TestLateSYN(t *testing.T) {
	l := labtest.New(t, lab.Topology{})
	ln, err := l.Server.NetListen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "at last") })}
	go server.Serve(ln)
	defer server.Close()

	lost := lab.DropSYN(80)
	lost.Nth = []int{1}
	l.Drop(l.Server, lost)
	k, err := predict.Running()
	if err != nil {
		t.Fatal(err)
	}
	want, err := predict.Connect(k, l.Client, predict.Open{Lost: 1})
	if err != nil {
		t.Fatal(err)
	}

	client := &http.Client{Transport: &http.Transport{DialContext: l.Client.DialContext}}
	began := time.Now()
	resp, err := client.Get("http://server/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	if err != nil || string(body) != "at last" {
		t.Fatalf("got %q, %v", body, err)
	}
	if took < want.Outcome.Earliest {
		t.Errorf("the answer took %v, want %v or more: the SYN's timer", took, want.Outcome.Earliest)
	}
	for _, p := range l.Packets() {
		if p.What == "syn-retransmission" && p.At < want.Events[1].Earliest { // later than Latest is a busy machine's doing
			t.Errorf("SYN again after %v, want %v or more", p.At, want.Events[1].Earliest)
		}
	}
}
