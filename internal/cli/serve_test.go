package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/web"
)

// TestFormsSpeakChinese catches a parameter whose explanation the page of serve cannot show in Chinese.
func TestFormsSpeakChinese(t *testing.T) {
	n := 0
	for _, x := range catalogueOf() {
		for _, p := range x.Params {
			texts := []string{x.Summary, x.Question, p.Doc}
			if len(p.Choices) == 0 {
				texts = append(texts, p.Takes)
			}
			for _, s := range texts {
				n++
				if _, ok := page.Translate(s); !ok {
					t.Errorf("%s --%s: no Chinese form of %q", x.Name, p.Flag, s)
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("got %d texts, want at least 100", n)
	}
}

// TestBench catches a form whose values come to another run than the same flags, a value that is not refused, and one that is blamed for
// another's fault.
func TestBench(t *testing.T) {
	b := &bench{out: t.TempDir()}
	good := web.Request{Experiment: "exp1-syn-loss", Profile: "fast", Values: map[string]string{"syn-retries": "3", "drop-at": "client-output"}}
	if why := b.Check(good); len(why) > 0 {
		t.Errorf("a good request: got %v", why)
	}
	if got, want := b.Command(good), "sudo tcplab run exp1-syn-loss --profile=fast --drop-at=client-output --syn-retries=3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p, err := b.Predict(web.Request{Experiment: "exp1-syn-loss", Profile: "fast", Kernel: "6.12.9", Values: map[string]string{"syn-retries": "3"}})
	if err != nil || len(p.Events) != 4 || p.HZ != 250 {
		t.Errorf("prediction: got %+v, %v, want a SYN and 3 repeats at HZ=250", p, err)
	}
	for name, tt := range map[string]struct {
		q    web.Request
		flag string
	}{
		"out of range":    {web.Request{Experiment: "exp1-syn-loss", Profile: "fast", Values: map[string]string{"syn-retries": "0", "drop-at": "client-output"}}, "syn-retries"},
		"no such word":    {web.Request{Experiment: "exp1-syn-loss", Profile: "fast", Values: map[string]string{"syn-retries": "1", "drop-at": "; reboot"}}, "drop-at"},
		"another's":       {web.Request{Experiment: "exp1-syn-loss", Profile: "fast", Values: map[string]string{"retries2": "3"}}, "retries2"},
		"no such profile": {web.Request{Experiment: "exp1-syn-loss", Profile: "x"}, ""},
	} {
		if why := b.Check(tt.q); len(why) != 1 || why[tt.flag] == "" {
			t.Errorf("%s: got %v, want the fault of %q", name, why, tt.flag)
		}
	}
}

// TestServe catches a server that says nothing useful about a port that is taken, that prints more than its address to standard output, or
// that ends otherwise than by the signal.
func TestServe(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs}
	err = a.serve(context.Background(), taken.Addr().(*net.TCPAddr).Port, t.TempDir(), page.English, false)
	if exit, _ := classify(err); exit != explain.ExitUsage || !strings.Contains(err.Error(), "something else listens there") || out.Len() > 0 {
		t.Errorf("a port that is taken: got exit code %d, %v, %q", exit, err, out.String())
	}
	if exit, _ := classify(a.serve(context.Background(), 0, "serve_test.go", page.English, false)); exit != explain.ExitUsage {
		t.Errorf("a folder that is none: got exit code %d, want %d", exit, explain.ExitUsage)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(&signalError{syscall.SIGINT})
	err = a.serve(ctx, 0, t.TempDir(), page.English, false)
	var sig *signalError
	if !errors.As(err, &sig) {
		t.Errorf("got %v, want the signal", err)
	}
	if got := out.String(); !strings.HasPrefix(got, "http://127.0.0.1:") || strings.Count(got, "\n") != 1 || !strings.Contains(got, "?token=") {
		t.Errorf("standard output: got %q, want one line with the address", got)
	}
}
