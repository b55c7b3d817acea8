package experiments

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// casesOfTimeouts is the table: for each connection how long after the last thing that its program could know it learns of the dead peer.
func casesOfTimeouts(e Env) ([]result.Case, error) {
	var out []result.Case
	for _, one := range entries(e.Options) {
		m, err := one.mechanism(e)
		if err != nil {
			return nil, err
		}
		t, err := e.Memory.Predict(m, e.Facts, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, one.row(e, t))
	}
	return out, nil
}

// since is what the time of a row counts from, and when that is, from connect(2).
func (one entry) since(e Env) (string, time.Duration) {
	for _, c := range one.later(e) {
		switch c.Name {
		case burstCall:
			return "write()", c.At
		case callClose:
			if one.is == plightShutdown {
				return "shutdown()", c.At
			}
			return "close()", c.At
		}
	}
	switch one.is {
	case plightConnect:
		return "connect()", 0
	case plightHalfOpen:
		return "the SYN", 0
	}
	return "the last packet heard", oracle.RoundTrip(e.Options.rtt(), e.Options.jitteredFlow(one.port))
}

// row says how a connection ends, or that it does not. Where a link that is a little late makes another timer, the window is that of all of them.
func (one entry) row(e Env, t timeline.Timeline) result.Case {
	c := result.Case{N: one.n, Name: one.name, Port: int(one.port), Rule: one.rule(e), Never: true, Told: "nothing"}
	from, at := one.since(e)
	c.From = from
	for order := range t.All() { // the usual one first
		ev, told := endOf(order)
		if ev == nil {
			continue
		}
		earliest, latest := result.Seconds(ev.Earliest-at), result.Seconds(ev.Latest-at)
		if c.Never {
			c.Never, c.Told, c.At, c.Earliest, c.Latest = false, told, result.Seconds(ev.At-at), earliest, latest
		}
		c.Earliest, c.Latest = min(c.Earliest, earliest), max(c.Latest, latest)
	}
	return c
}

// endOf is the end of a connection, and what its program is told. Nil: there is none.
func endOf(t timeline.Timeline) (end *timeline.Event, told string) {
	if o := t.Outcome; o != nil && (o.What == timeline.SocketError || o.What == timeline.ConnectError) {
		call := "read()"
		if o.What == timeline.ConnectError {
			call = "connect()"
		}
		return o, call + " = " + o.Errno
	}
	for i, ev := range t.Events { // nobody is told, but the kernel gives up
		if ev.What == timeline.RequestGone || ev.What == timeline.SocketGone && ev.Host == "client" {
			end, told = &t.Events[i], "nothing: the kernel forgets the connection"
		}
	}
	return end, told
}

// rule names what decides, with its value.
func (s standing) rule(e Env) string {
	knob := func(host, name string) string {
		return strings.TrimPrefix(name, "net.ipv4.") + "=" + e.Sysctls[host+"."+name]
	}
	o := s.options(e.Options)
	option := func(flag, name, sysctl string) string {
		if v := o[flag]; v != "" {
			return name + "=" + v
		}
		return knob("client", sysctl)
	}
	switch {
	case s.user && s.keep:
		return strings.Join([]string{option("keepidle", "TCP_KEEPIDLE", "net.ipv4.tcp_keepalive_time"), option("keepintvl", "TCP_KEEPINTVL", "net.ipv4.tcp_keepalive_intvl"),
			"TCP_USER_TIMEOUT=" + o["user-timeout"]}, " ")
	case s.user:
		return "TCP_USER_TIMEOUT=" + o["user-timeout"]
	case s.is == plightConnect:
		return knob("client", "net.ipv4.tcp_syn_retries")
	case s.is == plightHalfOpen:
		return knob("server", "net.ipv4.tcp_synack_retries")
	case s.is == plightIdle && s.keep:
		return strings.Join([]string{option("keepidle", "TCP_KEEPIDLE", "net.ipv4.tcp_keepalive_time"), option("keepintvl", "TCP_KEEPINTVL", "net.ipv4.tcp_keepalive_intvl"),
			option("keepcnt", "TCP_KEEPCNT", "net.ipv4.tcp_keepalive_probes")}, " ")
	case s.is == plightClose:
		return knob("client", "net.ipv4.tcp_orphan_retries")
	case s.is == plightIdle || s.is == plightUnread:
		return "nothing"
	}
	return knob("client", "net.ipv4.tcp_retries2")
}

// learned is the event by which a program is told of the end of its connection, or of nothing until it stops to wait.
func learned(r *result.Result, port int) *result.Event {
	for i := range r.Events {
		ev := &r.Events[i]
		switch timeline.What(ev.What) {
		case timeline.SocketError, timeline.ConnectError, timeline.Quiet:
			if ev.Port == port && ev.Host == "client" && ev.Seen != nil {
				return ev
			}
		}
	}
	return nil
}

// sinceSeen is when the time of a row begins in a run: 0 and false where the packet was not captured.
func (s standing) sinceSeen(r *result.Result, port int) (time.Duration, bool) {
	var at time.Duration
	found := false
	for _, p := range r.Packets {
		if p.SrcPort != port && p.DstPort != port {
			continue
		}
		what := timeline.What(p.What)
		switch s.is {
		case plightConnect, plightHalfOpen:
			if what == timeline.SYN {
				return p.At(), true
			}
		case plightIdle:
			if what == timeline.SYNACK {
				return reached(p), true
			}
		case plightShutdown, plightClose:
			if what == timeline.FIN {
				return p.At(), true
			}
		default:
			if what == timeline.Data && p.From == "client" { // the last of them: with data in flight there is a request before
				at, found = p.At(), true
			}
		}
	}
	return at, found
}

// checksOfTimeouts are the table as it was seen, row by row. The rows are those of the prediction: to work them out anew, over every start, for the nanosecond in
// which each call was made would take a guest minutes.
func checksOfTimeouts(e Env, r *result.Result) []result.Check {
	if r.Prediction == nil || len(r.Prediction.Cases) != len(entries(e.Options)) {
		return nil
	}
	rows := r.Prediction.Cases
	var out []result.Check
	for i, one := range entries(e.Options) {
		out = append(out, one.check(rows[i], r))
	}
	if doubtful(r) {
		for i := range out {
			if out[i].Verdict == result.Fail {
				out[i].Verdict, out[i].Detail = result.Inconclusive, "packets may be missing from the captures"
			}
		}
	}
	return out
}

// check holds what a program was told against its row. Its time is judged with the schedule; here it is put beside the row's.
func (s standing) check(row result.Case, r *result.Result) result.Check {
	c := result.Check{ID: row.CheckID(), Name: s.name, Expected: row.Words(), Verdict: result.Pass}
	from, known := s.sinceSeen(r, row.Port)
	if !known {
		c.Observed, c.Verdict, c.Code, c.Detail = "no packet", result.Fail, explain.TooFewSYNs, "the connection was not made"
		return c
	}
	ev := learned(r, row.Port)
	if s.is == plightClose {
		c.Observed = row.Told
		if ev != nil {
			c.Observed, c.Verdict, c.Code, c.Detail = ev.SeenErr, result.Fail, explain.WrongErrno, "a program that has closed its socket was told something"
		}
		return c
	}
	if ev == nil {
		c.Observed, c.Verdict, c.Code, c.Detail = "still waiting", result.Fail, explain.DiedLate, "the program was told nothing until the end of the run"
		return c
	}
	took := ev.Seen.Duration() - from
	quiet := timeline.What(ev.What) == timeline.Quiet
	c.Observed = fmt.Sprintf("%s, %s", seconds(took), ev.SeenErr)
	if quiet {
		c.Observed = fmt.Sprintf("nothing for %s", seconds(took))
	}
	tells := !row.Never && row.Told != "" && strings.Contains(row.Told, " = ")
	switch {
	case quiet && tells:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.DiedLate, "the program was told nothing until the end of the run"
	case !quiet && !tells:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongErrno, "a program was told of an end that nothing could know of"
	case tells && !strings.HasSuffix(row.Told, " = "+ev.SeenErr):
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongErrno, "the program was told another error"
	case ev.Verdict == result.Fail:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.TooLate, "see the same event in the schedule"
	case ev.Verdict == result.Inconclusive:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "see the same event in the schedule"
	}
	return c
}

// rivalsOfTimeouts are other values of what decides.
func rivalsOfTimeouts(e Env) []Rival {
	truth, err := predictTimeouts(e)
	if err != nil {
		return nil
	}
	var rivals []Rival
	knob := func(code, flag, host, name string, values ...string) {
		now, have := e.Sysctls[host+"."+name]
		for _, v := range values {
			if have && v != now {
				rivals = append(rivals, Rival{Code: code, Text: fmt.Sprintf("the %s behaves as if %s were %s (it is set to %s)", host, name, v, now),
					Flags: []string{"--" + flag + "=" + v}, Env: e.With(host, name, v)})
			}
		}
	}
	knob(explain.RetriesAreTime, "retries2", "client", "net.ipv4.tcp_retries2", "1", "2", "3", "4", "5", "8", "15")
	knob(explain.CountAndTime, "syn-retries", "client", "net.ipv4.tcp_syn_retries", "1", "2", "5", "6")
	knob(explain.CountAndTime, "synack-retries", "server", "net.ipv4.tcp_synack_retries", "1", "2", "5")
	knob(explain.Keepalive, "keepalive-probes", "client", "net.ipv4.tcp_keepalive_probes", "1", "2", "3", "9")
	knob(explain.Orphans, "orphan-retries", "client", "net.ipv4.tcp_orphan_retries", "0", "1", "2")
	for _, v := range []string{"1000", "2500", "5000", "30000"} {
		if e.Options["user-timeout"] != v {
			rivals = append(rivals, Rival{Code: explain.RetriesAreTime, Text: fmt.Sprintf("the client's socket behaves as if TCP_USER_TIMEOUT were %s ms", v), Flags: []string{"--user-timeout=" + v},
				Env: e.WithOption("user-timeout", v)})
		}
	}
	return slices.DeleteFunc(rivals, func(r Rival) bool {
		t, err := predictTimeouts(r.Env)
		return err != nil || reflect.DeepEqual(t, truth)
	})
}

// storyOfTimeouts tells who was told what.
func storyOfTimeouts(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...)})
	}
	var never, kept []string
	var soonest, latest string
	var least, most time.Duration
	n := 0
	for _, s := range entries(nil) { // those without packets were not asked for
		from, known := s.sinceSeen(r, int(s.port))
		ev := learned(r, int(s.port))
		switch {
		case !known:
		case s.is == plightClose:
			kept = append(kept, s.name)
		case ev == nil || timeline.What(ev.What) == timeline.Quiet:
			never = append(never, s.name)
		default:
			took := ev.Seen.Duration() - from
			if n++; n == 1 || took < least {
				soonest, least = s.name, took
			}
			if n == 1 || took > most {
				latest, most = s.name, took
			}
		}
	}
	if n > 0 {
		say("%d programs were told of the end of their connections: first the one that was %s, after %s, and last the one that was %s, after %s.", n, soonest, seconds(least), latest, seconds(most))
	}
	if len(never) > 0 {
		say("Nobody told these, for as long as they were watched: %s.", strings.Join(never, "; "))
	}
	if len(kept) > 0 {
		say("The program that had closed its socket could not be told: what its kernel repeats is nobody's.")
	}
	return story
}
