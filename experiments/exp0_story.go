package experiments

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// storyOfHandshake tells a whole connection, or its refusal, from the packets.
func storyOfHandshake(r *result.Result) []result.Sentence {
	t := &teller{r: r}
	if first := t.find("", timeline.SYN); first == nil {
		t.say(nil, "No capture shows a SYN.")
		return t.story
	}
	switch {
	case t.find("server", timeline.RST) != nil && t.find("server", timeline.SYNACK) == nil, t.find("server", timeline.ICMP) != nil:
		t.refusal()
	default:
		t.opening()
		t.exchange()
		t.ending()
	}
	return t.story
}

// teller writes sentences about a result.
type teller struct {
	r     *result.Result
	story []result.Sentence
}

func (t *teller) say(packets []int, format string, a ...any) {
	t.story = append(t.story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
}

// find is the first packet of a kind; from: of one host, or "" for any.
func (t *teller) find(from string, what timeline.What) *result.Packet {
	for i, p := range t.r.Packets {
		if p.What == string(what) && (from == "" || p.From == from) {
			return &t.r.Packets[i]
		}
	}
	return nil
}

// all are the packets of a kind.
func (t *teller) all(from string, what timeline.What) (ids []int) {
	for _, p := range t.r.Packets {
		if p.What == string(what) && p.From == from {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

func (t *teller) refusal() {
	syns := append(t.all("client", timeline.SYN), t.all("client", timeline.SYNRetransmission)...)
	if rst := t.find("server", timeline.RST); rst != nil {
		t.say([]int{syns[0], rst.ID}, "The SYN was answered by a RST with sequence number 0 that acknowledges it: %s was refused.", port(t.r))
	}
	if icmp := t.all("server", timeline.ICMP); len(icmp) > 0 {
		t.say(icmp, "The SYN was answered by an ICMP error, %s.", times(len(icmp)))
		if len(syns) > 1 {
			t.say(syns, "The first one came while connect() still owned the socket: the kernel only noted it (sk_err_soft) and let the timer run. "+
				"The answer to the repeated SYN found the socket free, and ended the attempt.")
		}
	}
	t.outcome()
}

// port is what the client's SYN went to, in words.
func port(r *result.Result) string {
	for _, p := range r.Packets {
		if p.From == "client" && p.DstPort != 0 {
			return fmt.Sprintf("port %d", p.DstPort)
		}
	}
	return "the port"
}

func (t *teller) outcome() {
	o := t.r.Outcome
	switch {
	case o == nil || o.Seen == nil:
		t.say(nil, "connect() had not returned when the run ended.")
	case o.SeenErr == "":
		t.say(nil, "connect() returned 0 after %s.", millis3(o.Seen.Duration()))
	default:
		t.say(nil, "connect() returned %s after %s.", o.SeenErr, millis3(o.Seen.Duration()))
	}
}

// millis3 writes a time in milliseconds with three digits behind the point.
func millis3(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d.Microseconds())/1000) }

func (t *teller) opening() {
	syn, answer, ack := t.find("client", timeline.SYN), t.find("server", timeline.SYNACK), t.find("client", timeline.ACK)
	if answer == nil || ack == nil {
		t.say([]int{syn.ID}, "The handshake was not completed.")
		t.outcome()
		return
	}
	t.say([]int{syn.ID, answer.ID, ack.ID}, "Three packets opened the connection: SYN, SYN-ACK, ACK. On the wire the client's numbers began at %d and the server's at %d; "+
		"relative numbers count from there, so that each SYN is number 0 and the first byte number 1.", syn.Seq, answer.Seq)
	t.outcome()
}

func (t *teller) exchange() {
	for _, w := range []struct{ host, what string }{{"client", "The request"}, {"server", "The answer"}} {
		data := t.find(w.host, timeline.Data)
		if data == nil {
			continue
		}
		for _, p := range t.r.Packets {
			if p.From != w.host && p.ID > data.ID && p.RelAck >= data.RelSeq+uint32(data.Len) {
				t.say([]int{data.ID, p.ID}, "%s had %d bytes, numbers %d to %d, and was acknowledged with %d, the number of the byte that is expected next.",
					w.what, data.Len, data.RelSeq, int(data.RelSeq)+data.Len-1, p.RelAck)
				break
			}
		}
	}
}

// ending tells the close: who was first, what carried the acknowledgement of the first FIN, and who is left with TIME-WAIT.
func (t *teller) ending() {
	end := closing(t.r)
	if len(end) == 0 {
		t.say(nil, "Nobody closed the connection while the captures ran.")
		return
	}
	first := end[0]
	var ids []int
	var ack, fin *result.Packet // the first acknowledgement of the first FIN, and the second FIN
	for i, p := range end {
		ids = append(ids, p.ID)
		if p.From != first.From && p.RelAck > first.RelSeq+uint32(first.Len) && ack == nil {
			ack = &end[i]
		}
		if p.From != first.From && p.What == string(timeline.FIN) && fin == nil {
			fin = &end[i]
		}
	}
	switch {
	case ack == nil || fin == nil:
		t.say(ids, "The %s closed first. The other end had not closed when the captures ended.", first.From)
	case ack == fin:
		t.say(ids, "The %s closed first. The %s closed %s after that FIN had come, before its delayed ACK was due, so its FIN carried the acknowledgement: %s packets.",
			first.From, fin.From, millis3(fin.At()-arrival(first)), number(len(end)))
	default:
		t.say(ids, "The %s closed first. The %s acknowledged that FIN %s after it had come, by the timer of its delayed ACK, and closed only %s after it: %s packets.",
			first.From, ack.From, millis3(ack.At()-arrival(first)), millis3(fin.At()-arrival(first)), number(len(end)))
	}
	for _, s := range t.r.States {
		if s.State == "TIME-WAIT" && s.Host == first.From {
			t.say(nil, "The end that closed first is left with TIME-WAIT, for a minute: it must be able to answer a repeated FIN, and an old packet must not meet a new connection.")
			return
		}
	}
}

// arrival is when a packet came to its receiver, as far as a capture saw it.
func arrival(p result.Packet) time.Duration {
	if p.ArrivedAt != nil {
		return p.ArrivedAt.Duration()
	}
	return p.At()
}

// number writes small numbers as words.
func number(n int) string {
	if n >= 0 && n < len(words) {
		return words[n]
	}
	return fmt.Sprint(n)
}

var words = []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
