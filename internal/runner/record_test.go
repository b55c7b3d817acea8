package runner

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/pcapout"
)

// aRecord is of three packets, one of which is nobody's.
func aRecord() Record {
	seen, began := result.Seconds(1003001002), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	at := func(ns int64) time.Time { return time.Unix(0, began.UnixNano()+ns) }
	first := result.Seconds(0)
	return Record{
		Result: &result.Result{
			Schema: result.Schema, Started: began, Verdict: result.Pass, Experiment: result.Experiment{Name: "exp1-syn-loss", Summary: "every SYN is lost"},
			Kernel: result.Kernel{Release: "6.12.0"}, Tool: result.Tool{Name: "tcplab", Version: "1"}, Prediction: &result.Prediction{Schema: result.PredictionSchema},
			Hosts:    []result.Host{{Name: "client", Addr: "10.9.0.1"}, {Name: "server", Addr: "10.9.0.2"}},
			Captures: []result.Capture{{Host: "client", Packets: 3, File: "client.pcapng"}, {Host: "server", Packets: 1, Dropped: 2, File: "server.pcapng"}},
			Packets: []result.Packet{{ID: 1, From: "client", To: "server", What: "syn", SentAt: &first, Fate: result.Dropped, Where: "server INPUT"},
				{ID: 2, From: "client", To: "server", What: "syn-retransmission", N: 1, SentAt: &seen, Fate: result.Lost}},
			Events: []result.Event{{Host: "client", What: "syn", Seen: &first, Expected: true, Verdict: result.Pass},
				{Host: "client", What: "syn-retransmission", N: 1, At: 1e9, Seen: &seen, Expected: true, Verdict: result.Pass}},
		},
		Captures: []Capture{
			{IDs: []int{1, 0, 2}, Ended: at(9), Packets: []pcapout.Packet{{Time: at(1), Data: []byte("one"), OrigLen: 3, Outgoing: true},
				{Time: at(2), Data: nil, OrigLen: 60, Lost: 7}, {Time: at(-3), Data: []byte("three"), OrigLen: 1500}}},
			{IDs: []int{1}, Ended: at(10), Packets: []pcapout.Packet{{Time: at(5), Data: []byte("one"), OrigLen: 3}}},
		},
	}
}

// sent is the record as it comes out of a guest.
func sent(t *testing.T, r Record) (out Record) {
	t.Helper()
	b, err := json.Marshal(r.Result)
	if err == nil {
		out.Result, err = result.Read(bytes.NewReader(b))
	}
	for _, c := range r.Captures {
		read, rerr := ReadCapture(c.Append(nil))
		if rerr != nil {
			t.Error(rerr)
		}
		out.Captures = append(out.Captures, read)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// files are what Write makes of a record.
func files(t *testing.T, r Record) map[string]string {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := r.Write(root, func(s string) (string, bool) { return "是" + s, true }); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	names, err := fs.ReadDir(root.FS(), ".")
	for _, n := range names {
		b, rerr := root.ReadFile(n.Name())
		if rerr != nil {
			t.Error(rerr)
		}
		out[n.Name()] = string(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRecord catches a run that loses something on its way out of a guest: its files must be the same to the byte as those that were made where it ran.
func TestRecord(t *testing.T) {
	here, there := files(t, aRecord()), files(t, sent(t, aRecord()))
	for _, name := range []string{"client.pcapng", "server.pcapng", "ladder.txt", "junit.xml", "result.json"} {
		if here[name] == "" || here[name] != there[name] {
			t.Errorf("%s: got %d bytes, want the %d that were written where it ran", name, len(there[name]), len(here[name]))
		}
	}
	if len(here) != 5 {
		t.Errorf("got %d files, want 5", len(here))
	}
	const remark = "SYN again, repetition 1 of 1"
	if !strings.Contains(here["client.pcapng"], "是"+remark) || strings.Contains(here["server.pcapng"], remark) {
		t.Errorf("want what is said of packet 2 in the client's capture, and not in the server's, which never saw it")
	}
	for _, other := range []func(*Capture){
		func(c *Capture) { c.IDs[2] = 0 }, func(c *Capture) { c.Packets[0].Outgoing = false }, func(c *Capture) { c.Packets[1].Lost = 0 },
		func(c *Capture) { c.Packets[2].OrigLen++ }, func(c *Capture) { c.Packets[2].Time = c.Packets[2].Time.Add(1) }, func(c *Capture) { c.Ended = c.Ended.Add(1) },
	} {
		r := aRecord()
		other(&r.Captures[0])
		if files(t, sent(t, r))["client.pcapng"] == here["client.pcapng"] {
			t.Error("another capture gives the same file: this test sees nothing")
		}
	}
}

// TestReadCaptureRefuses catches a damaged capture that is taken for a shorter one, or that is read beyond its end.
func TestReadCaptureRefuses(t *testing.T) {
	whole := aRecord().Captures[1].Append(nil)
	for n := range whole {
		if c, err := ReadCapture(whole[:n]); err == nil && len(c.Packets) > 0 {
			t.Errorf("the first %d of %d bytes: got %d packets and no error", n, len(whole), len(c.Packets))
		}
	}
	huge := append(aRecord().Captures[0].Append(nil)[:9], bytes.Repeat([]byte{0xff}, 40)...)
	if _, err := ReadCapture(huge); err == nil {
		t.Error("numbers without an end: got no error")
	}
	r := aRecord()
	r.Captures = r.Captures[:1]
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := r.Write(root, nil); err == nil {
		t.Error("a capture is missing: got no error")
	}
}

// FuzzReadCapture catches bytes of a guest's that end the host's program, or that are read as another capture than they are written as.
func FuzzReadCapture(f *testing.F) {
	whole := Capture{Ended: time.Unix(0, 7), IDs: []int{1, 0}, Packets: []pcapout.Packet{
		{Time: time.Unix(0, 5), Data: []byte{1, 2, 3}, OrigLen: 60, Outgoing: true}, {Time: time.Unix(0, -6), Data: []byte{}, Lost: 2}}}.Append(nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCapture(b)
		if err != nil {
			return
		}
		if len(c.IDs) != len(c.Packets) {
			t.Fatalf("got %d numbers for %d packets", len(c.IDs), len(c.Packets))
		}
		again, err := ReadCapture(c.Append(nil))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("got %+v, %v, want %+v", again, err, c)
		}
	})
}
