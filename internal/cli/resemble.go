package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/analyse"
)

// likeness is an experiment that shows what a finding is about, with the flags that come closest to what was seen.
type likeness struct {
	experiment string // the beginning of its name that is unique for ever
	flags      []string
}

// resembles finds the experiment that shows the same as a finding. Its flags are read off the capture: how often something was repeated, and
// after which time. An experiment or a flag that this version does not have is left out.
func resembles(x *analyse.Finding, s *analyse.Summary) (name, command string) {
	l, ok := likenesses[x.Kind]
	if !ok {
		return "", ""
	}
	like := l(x, s)
	e, err := experiments.Find(like.experiment)
	if err != nil {
		return "", ""
	}
	words := []string{"sudo tcplab run " + shortest(e.Name)}
	for _, f := range like.flags {
		if flag, _, _ := strings.Cut(f, "="); hasFlag(e, flag) {
			words = append(words, "--"+f)
		}
	}
	return e.Name, strings.Join(words, " ")
}

func hasFlag(e *experiments.Experiment, flag string) bool {
	for _, p := range e.Params {
		if p.Flag == flag {
			return true
		}
	}
	return false
}

// shortest is the part of a name before its first hyphen, where that is enough to find it.
func shortest(name string) string {
	head, _, _ := strings.Cut(name, "-")
	if e, err := experiments.Find(head); err != nil || e.Name != name {
		return name
	}
	return head
}

// likenesses say for each kind of finding which experiment shows it.
var likenesses = map[analyse.Kind]func(*analyse.Finding, *analyse.Summary) likeness{
	analyse.SYNUnanswered: lostSYN,
	analyse.SYNLost:       lostSYN,
	analyse.SYNRefused:    func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp0-", []string{"port=closed"}} },
	analyse.SYNUnreachable: func(x *analyse.Finding, _ *analyse.Summary) likeness {
		how := map[string]string{"host unreachable": "icmp-host-unreachable", "network unreachable": "icmp-net-unreachable", "prohibited": "icmp-admin-prohibited"}[x.Cause]
		return likeness{"exp0-", []string{"reject=" + cmp.Or(how, "icmp-port-unreachable")}}
	},
	analyse.SYNACKUnheard: lostSYNACK,
	analyse.SYNACKLost:    lostSYNACK,
	analyse.HandshakeACKUnheard: func(x *analyse.Finding, _ *analyse.Summary) likeness {
		return likeness{"exp3-", []string{"cut=start", fmt.Sprintf("synack-retries=%d", min(x.N, 255))}}
	},
	analyse.DataUnanswered: func(x *analyse.Finding, s *analyse.Summary) likeness {
		return likeness{"exp3-", []string{"cut=mid", fmt.Sprintf("retries2=%d", min(max(x.N-1, 1), 15))}}
	},
	analyse.LossRepaired:        repairedLoss,
	analyse.KeepaliveUnanswered: deadPeer,
	analyse.KeepaliveAnswered:   func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp4-", []string{"peer=alive"}} },
	analyse.FastOpenIgnored:     func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp5-", nil} },
	analyse.WindowShut:          func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp7-", nil} },
	analyse.FINUnanswered:       func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp8-", nil} },
	analyse.FINRepaired:         func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp8-", nil} },
	analyse.DelayedACKWait:      func(*analyse.Finding, *analyse.Summary) likeness { return likeness{"exp10-", nil} },
}

// lostSYN reads tcp_syn_retries, and tcp_syn_linear_timeouts where the first waits do not double: n linear waits are n+1 waits of 1 s, and
// only what follows them counts as a retry beyond the first (tcp_retransmit_timer, Linux 6.5).
func lostSYN(x *analyse.Finding, _ *analyse.Summary) likeness {
	linear := 0
	for linear < len(x.Gaps) && near(x.Gaps[linear], time.Second) {
		linear++
	}
	if linear < 2 {
		return likeness{"exp1-", []string{fmt.Sprintf("syn-retries=%d", min(max(x.N, 1), 127))}}
	}
	linear--
	return likeness{"exp1-", []string{fmt.Sprintf("syn-retries=%d", min(max(x.N-linear+1, 1), 127)), fmt.Sprintf("syn-linear-timeouts=%d", linear)}}
}

func lostSYNACK(x *analyse.Finding, s *analyse.Summary) likeness {
	syns := s.Ends[0].Counts["syn-retransmission"]
	timers := s.Ends[1].Counts["syn-ack-retransmission"]
	return likeness{"exp2-s", []string{fmt.Sprintf("syn-retries=%d", min(max(syns, 1), 127)), fmt.Sprintf("synack-retries=%d", min(timers, 255))}}
}

// repairedLoss asks for the same repair: by SACK or without, at about the same distance, at the end of a burst where a timer had to help.
func repairedLoss(_ *analyse.Finding, s *analyse.Summary) likeness {
	l := likeness{experiment: "exp6-", flags: []string{"sack=on"}}
	if !s.SACK {
		l.flags[0] = "sack=off"
	}
	if rtt := s.RTT.Round(time.Millisecond); rtt >= 4*time.Millisecond && rtt <= 300*time.Millisecond {
		l.flags = append(l.flags, "rtt="+rtt.String())
	}
	fast := s.Ends[0].Counts["fast-retransmission"] + s.Ends[1].Counts["fast-retransmission"]
	if fast == 0 {
		l.flags = append(l.flags, "lose=last")
	}
	return l
}

// deadPeer reads the three times of keepalive off the probes.
func deadPeer(x *analyse.Finding, _ *analyse.Summary) likeness {
	l := likeness{experiment: "exp4-"}
	second := func(d time.Duration) int { return min(max(int(d.Round(time.Second).Seconds()), 1), 32767) }
	if len(x.Gaps) > 0 {
		l.flags = append(l.flags, fmt.Sprintf("keepalive-time=%d", second(x.Gaps[0])))
	}
	if len(x.Gaps) > 1 {
		l.flags = append(l.flags, fmt.Sprintf("keepalive-intvl=%d", second(x.Gaps[1])))
	}
	l.flags = append(l.flags, fmt.Sprintf("keepalive-probes=%d", min(x.N, 255)))
	return l
}

// near reports whether a wait is that of a timer of d: never earlier, and later by an eighth and a little.
func near(got, d time.Duration) bool {
	return got >= d-10*time.Millisecond && got <= d+d/8+50*time.Millisecond
}
