package spec

import (
	"errors"
	"slices"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// timestampBytes is TCPOLEN_TSTAMP_ALIGNED: what the timestamp option takes of TCP_MAXSEG.
const timestampBytes = 12

// exchange is a whole connection on a link that loses nothing: open, one GET, close.
func exchange(f *File) (bound, error) {
	_, err := f.shaped("get close", "get shutdown close", "get shutdown receive")
	if err := errors.Join(err, f.whole(), f.listening()); err != nil {
		return bound{}, firstOf(err)
	}
	acts := f.acts()
	if shape(acts) != "get close" {
		return bound{}, misfitAt(acts[1].Pos, "the client must close after the answer: get, sleep, close")
	}
	size, err := lab.RequestSize(acts[0].Text)
	if err != nil {
		return bound{}, misfitAt(acts[0].Pos, "%v", err)
	}
	calls := func(e experiments.Env) []experiments.Call {
		request, client := f.call(e, 0), f.call(e, 1)
		answer := experiments.Call{Name: "answer", At: request.At + f.RTT/2, Host: "server"}
		server := experiments.Call{Name: "server's close", At: client.At + f.RTT/2 + f.Server.Linger, Host: "server"}
		if f.Server.AfterAnswer {
			server.At = answer.At + f.Server.Linger
		}
		return []experiments.Call{request, client, answer, server}
	}
	return bound{
		calls: calls,
		predict: func(e experiments.Env) (timeline.Timeline, error) {
			x := oracle.Exchange{Request: size, Answer: lab.AnswerSize(acts[0].Text, f.Server.AfterAnswer), ServerFirst: f.Server.AfterAnswer, RTT: f.RTT, IPv6: e.Options.IPv6()}
			c := calls(e)
			x.RequestAt, x.ClientClose, x.AnswerAt, x.ServerClose = made(e, c[0]), made(e, c[1]), made(e, c[2]), made(e, c[3])
			x = x.Ordered()
			k := &knobs{e: e}
			x.RTOMin = k.us(lastCloser(x.ServerFirst), "tcp_rto_min_us")
			if err := k.err(); err != nil {
				return timeline.Timeline{}, err
			}
			return e.Ask(x)
		},
		states: func(experiments.Env) map[string][]string {
			first := []string{"(FIN-WAIT-1)", "(FIN-WAIT-2)", "TIME-WAIT"}
			second := []string{"(CLOSE-WAIT)", "(LAST-ACK)"}
			client, server := []string{"(SYN-SENT)", "ESTABLISHED"}, []string{"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}
			if f.Server.AfterAnswer {
				return map[string][]string{"client": append(append(client, second...), "CLOSED"), "server": append(server, first...)}
			}
			return map[string][]string{"client": append(client, first...), "server": append(append(server, second...), "(CLOSED)", "LISTEN")}
		},
	}, nil
}

// lastCloser is the end that hears the first FIN.
func lastCloser(serverFirst bool) string {
	if serverFirst {
		return "client"
	}
	return "server"
}

// blackHole is data that is never acknowledged: because the handshake's third packet and all after it is lost, or because everything is from
// some moment on.
func blackHole(f *File) (bound, error) {
	got, err := f.shaped("send receive", "send receive fault send receive")
	mid := got == "send receive fault send receive"
	cut := f.deaf
	if mid {
		cut = f.silent
	}
	if err := errors.Join(err, f.listening()); err != nil {
		return bound{}, firstOf(err)
	}
	if err := cut(); err != nil {
		return bound{}, err
	}
	if f.Server.Service != "echo" && mid {
		return bound{}, misfitAt(f.connect().Pos, "it wants a server that sends back what it gets: service: echo")
	}
	last := len(f.acts()) - 2
	calls := func(e experiments.Env) []experiments.Call {
		out := []experiments.Call{f.call(e, last)}
		if mid {
			out = append([]experiments.Call{f.call(e, 0)}, out...)
		}
		return out
	}
	return bound{
		calls: calls,
		predict: func(e experiments.Env) (timeline.Timeline, error) {
			b, err := f.hole(e, mid, calls(e))
			if err != nil {
				return timeline.Timeline{}, err
			}
			return e.AskBlackHole(b)
		},
		states: func(experiments.Env) map[string][]string {
			server := []string{"(LISTEN)", "SYN-RECV", "LISTEN"}
			if mid {
				server = []string{"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}
			}
			return map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED", "CLOSED"}, "server": server}
		},
	}, nil
}

// deaf wants faults from the start that leave of the client's packets only the SYN.
func (f *File) deaf() error {
	need := map[Role]bool{ACK: true, Data: true}
	for _, x := range f.broken() {
		mid := x.Off || x.Nth != nil || x.Kind != Drop || x.From != "client" || x.At != "server"
		if mid || x.Role != ACK && x.Role != Data && x.Role != FIN && x.Role != RST {
			return misfitAt(x.Pos, "it wants drop: ack and drop: data of the client, all of them and from the start")
		}
		delete(need, x.Role)
	}
	if len(need) > 0 {
		return misfitAt(f.connect().Pos, "it wants drop: ack and drop: data of the client, from the start")
	}
	return nil
}

// hole reads what the oracle needs.
func (f *File) hole(e experiments.Env, mid bool, calls []experiments.Call) (oracle.BlackHole, error) {
	server, err := serverInput(e)
	acts := f.acts()
	last := len(calls) - 1
	b := oracle.BlackHole{Host: "client", Server: server, Bytes: len(acts[len(acts)-2].Text), Write: made(e, calls[last]), RTT: f.RTT,
		UserTimeout: f.connect().Connect.UserTimeout}
	if mid {
		b.Cut, b.Request, b.Exchange = oracle.CutMid, len(acts[0].Text), made(e, calls[0])
	}
	k := &knobs{e: e, errs: []error{err}}
	b.Retries2, b.EarlyRetrans = int(k.int("client", "tcp_retries2")), int(k.int("client", "tcp_early_retrans"))
	b.RTOMax, b.RTOMin = k.ms("client", "tcp_rto_max_ms"), k.us("client", "tcp_rto_min_us")
	b.InvalidRatelimit = k.ms("client", "tcp_invalid_ratelimit")
	b.NoSACK, b.ThinLinear = !k.on("tcp_sack"), k.int("client", "tcp_thin_linear_timeouts") != 0
	return b, k.err()
}

// keepalive is an idle connection: the peer vanishes, and the client waits in read(2) until it dies, or for a time.
func keepalive(f *File) (bound, error) {
	_, err := f.shaped("fault receive")
	if err := errors.Join(err, f.listening()); err != nil {
		return bound{}, firstOf(err)
	}
	if err := f.silent(); err != nil {
		return bound{}, err
	}
	read, c := f.acts()[1], f.connect().Connect
	if c.KeepAlive == (read.Until != 0) {
		return bound{}, misfitAt(read.Pos, "with keepalive: true the connection dies, and receive waits for that; without it nothing ends the wait but until")
	}
	if f.RTT > 0 {
		return bound{}, misfitAt(f.connect().Pos, "it knows links without a round-trip time only")
	}
	calls := func(e experiments.Env) []experiments.Call {
		if read.Until == 0 {
			return nil
		}
		return []experiments.Call{{Name: f.call(e, 1).Name, At: e.Whole(read.Until)}}
	}
	return bound{
		calls: calls,
		predict: func(e experiments.Env) (timeline.Timeline, error) {
			k := &knobs{e: e}
			m := oracle.Keepalive{Host: "client", Off: !c.KeepAlive, Time: k.seconds("client", "tcp_keepalive_time"), Interval: k.seconds("client", "tcp_keepalive_intvl"),
				Probes: int(k.int("client", "tcp_keepalive_probes")), Idle: c.KeepIdle, SockInterv: c.KeepInterval, Count: c.KeepCount, UserTimeout: c.UserTimeout,
				Peer: oracle.KeepalivePeer{Host: "server", Gone: true}}
			for _, c := range calls(e) {
				m.Until = made(e, c)
			}
			if err := k.err(); err != nil {
				return timeline.Timeline{}, err
			}
			return e.Ask(m)
		},
		states: func(experiments.Env) map[string][]string {
			client := []string{"(SYN-SENT)", "ESTABLISHED", "CLOSED"}
			if !c.KeepAlive {
				client = client[:2]
			}
			return map[string][]string{"client": client, "server": {"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}}
		},
	}, nil
}

// recovery is one write of several segments, all in flight at once, of which some are lost the first time.
func recovery(f *File) (bound, error) {
	_, err := f.shaped("write")
	if err := errors.Join(err, f.listening()); err != nil {
		return bound{}, firstOf(err)
	}
	write, c := f.acts()[0], f.connect().Connect
	var lose []int
	for _, x := range f.broken() {
		if x.Kind != Drop || x.Role != Data || x.From != "client" || x.At != "server" || x.Off || x.Nth == nil {
			return bound{}, misfitAt(x.Pos, "of faults it knows drop: data[15] once, from the start")
		}
		lose = append(lose, x.Nth...)
	}
	slices.Sort(lose)
	switch {
	case f.RTT == 0:
		return bound{}, misfitAt(f.connect().Pos, "it wants a link with a round-trip time: `link: {rtt: 100ms}`")
	case f.Server.Service != "sink" || f.Server.LowWater != write.Segments*write.Size:
		return bound{}, misfitAt(write.Pos, "it wants a server that sleeps until the whole write is there: `server: {service: sink, low_water: %d}`", write.Segments*write.Size)
	case max(f.Window, 10) < write.Segments: // TCP_INIT_CWND
		return bound{}, misfitAt(write.Pos, "it wants the write in flight at once: `client: {initial_window: %d}`", write.Segments)
	case c.MaxSegment == 0:
		return bound{}, misfitAt(f.connect().Pos, "it wants segments of one size: `connect: {max_segment: %d}`, with the %d bytes that timestamps take", write.Size+timestampBytes, timestampBytes)
	case c.SendBuffer < 2*write.Segments*write.Size:
		return bound{}, misfitAt(f.connect().Pos, "it wants room for the whole write: `connect: {send_buffer: %d}`", 4*write.Segments*write.Size)
	}
	calls := func(e experiments.Env) []experiments.Call { return []experiments.Call{f.call(e, 0)} }
	return bound{
		calls: calls,
		predict: func(e experiments.Env) (timeline.Timeline, error) {
			k := &knobs{e: e}
			mss := min(c.MaxSegment, oracle.MSS(e.Options.IPv6()))
			if k.on("tcp_timestamps") {
				mss -= timestampBytes
			}
			if mss != write.Size {
				return timeline.Timeline{}, misfitAt(write.Pos, "write: segments of %d bytes, and the connection's are of %d (max_segment, %d at most, less %d with timestamps)", write.Size, mss, oracle.MSS(e.Options.IPv6()), timestampBytes)
			}
			m := oracle.Recovery{Segments: write.Segments, Size: write.Size, Lose: lose, Write: made(e, calls(e)[0]), RTT: f.RTT, SACK: k.on("tcp_sack"),
				TCPRecovery: int(k.int("client", "tcp_recovery")), EarlyRetrans: int(k.int("client", "tcp_early_retrans")), Reordering: int(k.int("client", "tcp_reordering")),
				FRTO: k.int("client", "tcp_frto") != 0, RTOMin: k.us("client", "tcp_rto_min_us"), RTOMax: k.ms("client", "tcp_rto_max_ms")}
			if err := k.err(); err != nil {
				return timeline.Timeline{}, err
			}
			return e.AskRecovery(m)
		},
		states: func(experiments.Env) map[string][]string {
			return map[string][]string{"client": {"(SYN-SENT)", "ESTABLISHED"}, "server": {"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}}
		},
	}, nil
}
