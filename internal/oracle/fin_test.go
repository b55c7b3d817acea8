package oracle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// finEnds are both ends at the kernel's defaults.
func finEnds() Closing {
	end := ClosingEnd{Retries2: 15, FINTimeout: 60 * time.Second, EarlyRetrans: 3}
	return Closing{Client: end, Server: end, ClientClose: 400 * time.Millisecond}
}

func modelled(t *testing.T, version string, hz int) kernel.Facts {
	t.Helper()
	v, err := kernel.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kernel.Model(v, hz)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// after are the instants of a host's events of a kind, counted from the client's close.
func after(c Closing, tl timeline.Timeline, host string, what timeline.What) (early, late []time.Duration) {
	for _, e := range tl.Events {
		if e.Host == host && e.What == what {
			early, late = append(early, e.Earliest-c.ClientClose), append(late, e.Latest-c.ClientClose)
		}
	}
	return early, late
}

// TestClosingMeasured holds the windows against what was measured by hand on 6.18.44 (HZ=250) before there was a prediction: seconds from the
// close to the end of the socket, and the repeats of the FIN where they were noted. It catches a limit that is a count, and a FIN-WAIT-2 that
// lasts as long as its sysctl says.
func TestClosingMeasured(t *testing.T) {
	f := modelled(t, "6.18", 250)
	for _, tt := range []struct {
		name  string
		c     func(*Closing)
		gone  float64
		again []float64
	}{
		{"orphan, default", func(c *Closing) { c.Lose = CloseNoFIN }, 106.55, []float64{.206, .414, .83, 1.66, 3.33, 6.65, 13.3, 26.6, 53.2}},
		{"orphan, 3", func(c *Closing) { c.Lose, c.Client.OrphanRetries = CloseNoFIN, 3 }, 6.89, nil},
		{"orphan, 1", func(c *Closing) { c.Lose, c.Client.OrphanRetries = CloseNoFIN, 1 }, 1.675, []float64{.2058, .4177, .8501}},
		{"orphan, ceiling of 1 s", func(c *Closing) { c.Lose, c.Client.RTOMax = CloseNoFIN, time.Second }, 2.73, []float64{.205, .413, .825, 1.657}},
		{"FIN-WAIT-2, 5", func(c *Closing) { c.Client.FINTimeout = 5 * time.Second }, 5.07, nil},
		{"FIN-WAIT-2, TCP_LINGER2 of 3", func(c *Closing) { c.Client.Linger2 = 3 }, 3.12, nil},
		{"FIN-WAIT-2, 60", func(*Closing) {}, 61.7, nil},
		{"FIN-WAIT-2, 70", func(c *Closing) { c.Client.FINTimeout = 70 * time.Second }, 20.35, nil},
		{"FIN-WAIT-2, 90", func(c *Closing) { c.Client.FINTimeout = 90 * time.Second }, 62.05, nil},
	} {
		c := finEnds()
		tt.c(&c)
		tl, err := c.Predict(f, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		within := func(what timeline.What, seen []float64) {
			early, late := after(c, tl, "client", what)
			if len(early) != len(seen) {
				t.Errorf("%s: got %d events %s, want %d", tt.name, len(early), what, len(seen))
				return
			}
			for i, s := range seen {
				// By hand the close fell into any part of a jiffy, and the end was seen up to 20 ms late.
				if at := time.Duration(s * float64(time.Second)); at < early[i]-8*time.Millisecond || at > late[i]+40*time.Millisecond {
					t.Errorf("%s: %s %d: got a window of %v to %v, want %v in it", tt.name, what, i+1, early[i], late[i], at)
				}
			}
		}
		within(timeline.SocketGone, []float64{tt.gone})
		if tt.again != nil {
			within(timeline.FINAgain, tt.again)
		}
	}
}

// TestClosingFINWait catches the missing half of what tcp_fin_timeout means above 60 s.
func TestClosingFINWait(t *testing.T) {
	for in, want := range map[int]int{1: 1, 30: 30, 60: 60, 61: 2, 75: 30, 89: 58, 90: 60, 120: 120, 3600: 7080} {
		e := ClosingEnd{FINTimeout: time.Duration(in) * time.Second}
		if got := e.FINWait(); got != time.Duration(want)*time.Second {
			t.Errorf("tcp_fin_timeout=%d: got %v, want %d s", in, got, want)
		}
	}
	e := ClosingEnd{FINTimeout: 5 * time.Second, Linger2: 500}
	if got := e.FINWait(); got != 2*time.Minute { // TCP_FIN_TIMEOUT_MAX is 120 s
		t.Errorf("TCP_LINGER2 of 500 s: got %v, want 120 s", got)
	}
}

// closingRows are what an end does, in words: who passes through which states, and what is on the wire after the handshake.
var closingRows = []struct {
	name           string
	c              func(*Closing)
	client, server string
	wire           string
}{
	{"nothing is lost, the server never closes", func(*Closing) {}, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 CLOSED", "ESTABLISHED CLOSE-WAIT", "c:fin s:ack"},
	{"nothing is lost", func(c *Closing) { c.ServerClose = time.Second }, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED",
		"ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", "c:fin s:ack s:fin c:ack"},
	{"the server is too late", func(c *Closing) { c.ServerClose = 4 * time.Second }, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 CLOSED",
		"ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", "c:fin s:ack s:fin c:rst"},
	{"FIN", func(c *Closing) { c.Lose = CloseNoFIN }, "ESTABLISHED FIN-WAIT-1 CLOSED", "ESTABLISHED", "c:fin c:fin+ c:fin+ c:fin+"},
	{"FIN, and both close: simultaneous for the client", func(c *Closing) { c.Lose, c.ServerClose = CloseNoFIN, 500*time.Millisecond },
		"ESTABLISHED FIN-WAIT-1 CLOSING CLOSED", "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 CLOSED", "c:fin s:fin c:ack c:fin+ c:fin+ c:fin+"},
	{"FIN, the client without a probe", func(c *Closing) { c.Lose, c.NoSACK = CloseNoFIN, true }, "ESTABLISHED FIN-WAIT-1 CLOSED", "ESTABLISHED", "c:fin c:fin+ c:fin+"},
	{"ACK", func(c *Closing) { c.Lose = CloseNoACK }, "ESTABLISHED FIN-WAIT-1 CLOSED", "ESTABLISHED CLOSE-WAIT",
		"c:fin s:ack c:fin+ s:dup c:fin+ s:dup c:fin+ s:dup"},
	{"ACK, which the second FIN carries, too", func(c *Closing) { c.Lose, c.ServerClose = CloseNoACK, 700*time.Millisecond },
		"ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED", "ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", "c:fin s:ack c:fin+ s:dup s:fin c:ack"},
	{"second FIN", func(c *Closing) { c.Lose, c.ServerClose = CloseNoSecondFIN, 700*time.Millisecond }, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 CLOSED",
		"ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", "c:fin s:ack s:fin s:fin+ s:fin+ s:fin+"},
	{"last ACK", func(c *Closing) { c.Lose, c.ServerClose = CloseNoLastACK, 700*time.Millisecond }, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED",
		"ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", "c:fin s:ack s:fin c:ack s:fin+ c:dup s:fin+ c:dup s:fin+ c:dup"},
	{"TCP_LINGER2 below 0", func(c *Closing) { c.Client.Linger2 = -1 }, "ESTABLISHED FIN-WAIT-1 CLOSED", "ESTABLISHED CLOSE-WAIT CLOSED", "c:fin s:ack c:rst"},
	{"shutdown, and no FIN comes", func(c *Closing) { c.Shutdown, c.Until = true, 5*time.Second }, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2", "ESTABLISHED CLOSE-WAIT",
		"c:fin s:ack | quiet"},
	{"shutdown, FIN lost", func(c *Closing) { c.Shutdown, c.Lose = true, CloseNoFIN }, "ESTABLISHED FIN-WAIT-1 CLOSED", "ESTABLISHED",
		"c:fin c:fin+ c:fin+ c:fin+ c:fin+ c:fin+ | socket-error ETIMEDOUT"},
	{"shutdown, both", func(c *Closing) { c.Shutdown, c.ServerClose = true, time.Second }, "ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED",
		"ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", "c:fin s:ack s:fin c:ack | end-of-stream"},
}

// TestClosingRows catches a state, a packet or an end that does not follow from what was lost.
func TestClosingRows(t *testing.T) {
	short := map[timeline.What]string{timeline.FIN: "fin", timeline.FINAgain: "fin+", timeline.ACK: "ack", timeline.DuplicateACK: "dup", timeline.RST: "rst"}
	for _, version := range []string{"6.18", "6.1", "5.4"} {
		f := modelled(t, version, 250)
		for _, tt := range closingRows {
			c := finEnds()
			c.Client.OrphanRetries, c.Server.OrphanRetries, c.Client.Retries2 = 1, 1, 3
			c.Client.FINTimeout, c.Server.FINTimeout = 2*time.Second, 2*time.Second
			tt.c(&c)
			tl, err := c.Predict(f, &Start{Jiffies: 1 << 33, Phase: f.Jiffy() / 3})
			if err != nil {
				t.Errorf("%s on %s: %v", tt.name, version, err)
				continue
			}
			var wire []string
			for _, e := range tl.Events[handshakeEvents:] {
				if e.What.OnWire() {
					wire = append(wire, e.Host[:1]+":"+short[e.What])
				}
			}
			if o := tl.Outcome; o != nil {
				wire = append(wire, strings.TrimSpace("| "+string(o.What)+" "+o.Errno))
			}
			stays, err := c.States(f)
			if err != nil {
				t.Fatal(err)
			}
			states := func(host string) string {
				var out []string
				for _, s := range stays[host] {
					out = append(out, s.State)
				}
				return strings.Join(out, " ")
			}
			got := []string{states("client"), states("server"), strings.Join(wire, " ")}
			if d := cmp.Diff([]string{tt.client, tt.server, tt.wire}, got); d != "" {
				t.Errorf("%s on %s (-want +got):\n%s", tt.name, version, d)
			}
		}
	}
}

// TestClosingRTT has the schedule over a link by hand, in ms from the SYN: at HZ=250 the RTO is ceil(RTT + max(2 * RTT, 200)) in jiffies of 4 ms, 304 at 100 ms and
// 224 at 20 ms, and the first repeat, a probe, waits as long; the next waits an RTO, whole, and 600 ms after that one (tcp_orphan_retries=1) or later it is over.
// It catches a timer that starts at the wrong end of the link, and an order of calls and arrivals
// that is that of a link without delay.
func TestClosingRTT(t *testing.T) {
	short := map[timeline.What]string{timeline.FIN: "f", timeline.FINAgain: "F", timeline.ACK: "a", timeline.DuplicateACK: "d", timeline.RST: "r", timeline.SocketGone: "!"}
	for _, tt := range []struct {
		name string
		rtt  int
		c    func(*Closing)
		want string
	}{
		{"FIN", 100, func(c *Closing) { c.Lose = CloseNoFIN }, "cf600 cF904 cF1208 c!1816"},
		{"FIN", 20, func(c *Closing) { c.Lose = CloseNoFIN }, "cf600 cF824 cF1048 cF1496 c!2392"},
		{"nothing", 100, func(c *Closing) { c.ServerClose = time.Second }, "cf600 sa650 sf1000 ca1050 s!1100 c!61050"},
		{"FIN-WAIT-2 starts when the ACK is there", 100, func(*Closing) {}, "cf600 sa650 c!2700"},
		{"FIN-WAIT-2 of 3.5 RTOs of 604 ms", 200, func(*Closing) {}, "cf600 sa700 c!2916"},
		{"both before they hear of each other", 200, func(c *Closing) { c.ServerClose = 650 * time.Millisecond },
			"cf600 sf650 sa700 ca750 c!60800 s!60850"},
		{"the last ACK", 100, func(c *Closing) { c.Lose, c.ServerClose = CloseNoLastACK, time.Second },
			"cf600 sa650 sf1000 ca1050 sF1304 cd1354 sF1608 cd1658 s!2216 c!61658"},
		{"the server is too late", 100, func(c *Closing) { c.ServerClose = 4 * time.Second }, "cf600 sa650 c!2700 sf4000 cr4050 s!4100"},
	} {
		f := modelled(t, "6.18", 250)
		c := finEnds()
		c.Client.OrphanRetries, c.Server.OrphanRetries = 1, 1
		c.Client.FINTimeout, c.Server.FINTimeout = 2*time.Second, 2*time.Second
		c.ClientClose, c.RTT = 600*time.Millisecond, time.Duration(tt.rtt)*time.Millisecond
		tt.c(&c)
		tl, err := c.Predict(f, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, e := range tl.Events[handshakeEvents:] {
			got = append(got, fmt.Sprintf("%s%s%d", e.Host[:1], short[e.What], e.At.Milliseconds()))
		}
		if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s at %d ms (-want +got):\n%s", tt.name, tt.rtt, d)
		}
	}
}

// TestClosingTimeWait catches a TIME-WAIT that counts from the first FIN though a repeated one starts it anew.
func TestClosingTimeWait(t *testing.T) {
	f := modelled(t, "6.18", 250)
	c := finEnds()
	c.Lose, c.ServerClose, c.Server.OrphanRetries = CloseNoLastACK, time.Second, 1
	tl, err := c.Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, fins := after(c, tl, "server", timeline.FINAgain)
	gone, _ := after(c, tl, "client", timeline.SocketGone)
	if len(fins) == 0 || len(gone) != 1 || gone[0] < fins[len(fins)-1]+TimeWaitLen-100*time.Millisecond {
		t.Errorf("got FINs at %v and the end from %v on, want the end 60 s after the last of them", fins, gone)
	}
	// With long waits the next FIN comes when TIME-WAIT is over, and meets nobody.
	c.Server.OrphanRetries = 12
	tl, err = c.Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resets, _ := after(c, tl, "client", timeline.RST); len(resets) != 1 {
		t.Errorf("got %d resets, want 1: a FIN that comes 100 s after the one before meets no TIME-WAIT", len(resets))
	}
}

// TestClosingExact catches ticks of a known start that lie outside the windows of all starts, and a tick that is left open without need.
func TestClosingExact(t *testing.T) {
	for _, hz := range []int{100, 250, 1000} {
		f := modelled(t, "6.18", hz)
		for i, tt := range closingRows {
			if hz == 1000 && i%5 != 0 { // its wheel has eight times the starts
				continue
			}
			c := finEnds()
			c.Client.OrphanRetries, c.Server.OrphanRetries, c.Client.Retries2 = 1, 1, 3
			c.Client.FINTimeout, c.Server.FINTimeout = 2*time.Second, 2*time.Second
			if i%2 == 1 {
				c.RTT, c.ClientClose = 30*time.Millisecond, 401*time.Millisecond
			}
			tt.c(&c)
			all, err := c.Predict(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			for j := uint64(1000); j < 1040; j += 3 {
				one, err := c.Predict(f, &Start{Jiffies: j, Phase: f.Jiffy() * 2 / 5, Called: true})
				if err != nil {
					t.Fatal(err)
				}
				merged := Merge(all, one)
				for _, e := range merged.Events {
					if e.Tick == 0 {
						continue
					}
					at := time.Duration(e.Tick)*f.Jiffy() - f.Jiffy()*2/5 + e.After
					if at < e.Earliest-2*f.Jiffy() || at > e.Latest+2*f.Jiffy() {
						t.Fatalf("HZ=%d, %s: %s %s: got tick %d, %v, want it in %v … %v", hz, tt.name, e.Host, e.What, e.Tick, at, e.Earliest, e.Latest)
					}
				}
			}
		}
	}
}

// TestClosingRefuses catches input that nobody can predict and that is predicted all the same.
func TestClosingRefuses(t *testing.T) {
	f := modelled(t, "6.18", 250)
	for want, spoil := range map[string]func(*Closing){
		"tcp_orphan_retries=256":  func(c *Closing) { c.Server.OrphanRetries = 256 },
		"tcp_fin_timeout":         func(c *Closing) { c.Client.FINTimeout = 2 * time.Hour },
		"no second FIN":           func(c *Closing) { c.Lose = CloseNoLastACK },
		"after the handshake":     func(c *Closing) { c.ClientClose = 0 },
		"RTT of 1s":               func(c *Closing) { c.RTT, c.ClientClose = time.Second, 3*time.Second },
		"which of the two":        func(c *Closing) { c.RTT, c.ServerClose = 100*time.Millisecond, c.ClientClose+60*time.Millisecond },
		"or more after":           func(c *Closing) { c.ServerClose = c.ClientClose },
		"nobody reads":            func(c *Closing) { c.Until = time.Second },
		"never ends":              func(c *Closing) { c.Shutdown = true },
		"want one of the":         func(c *Closing) { c.Lose = 9 },
		"tcp_retries2":            func(c *Closing) { c.Client.Retries2 = -1 },
		"want it after the close": func(c *Closing) { c.Shutdown, c.Until = true, time.Millisecond },
	} {
		c := finEnds()
		spoil(&c)
		if _, err := c.Predict(f, nil); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := finEnds().Predict(modelled(t, "4.0", 250), nil); err == nil {
		t.Error("kernel 4.0: got no error, want one: it looks at TIME-WAIT sockets in slots")
	}
}
