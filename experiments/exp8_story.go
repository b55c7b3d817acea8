package experiments

import (
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

func joined(words []string) string { return strings.Join(words, " ") }

// storyOfFINLoss tells the close from the packets and the looks.
func storyOfFINLoss(r *result.Result) []result.Sentence {
	t := &teller{r: r}
	client, server := finsOf(r, "client"), finsOf(r, "server")
	if len(client) == 0 {
		t.say(nil, "No capture shows a FIN of the client's.")
		return t.story
	}
	t.say([]int{client[0].ID}, "%s after its first packet the client's program was done with the connection: a FIN went out.", seconds(client[0].At()))
	t.lostFINs("client", client)
	if len(server) > 0 {
		t.say([]int{server[0].ID}, "%s after that the server's program closed, too.", seconds(server[0].At()-client[0].At()))
		t.lostFINs("server", server)
	}
	t.answersToFINs()
	for _, host := range []string{"client", "server"} {
		t.lastState(host)
	}
	switch o := r.Outcome; {
	case o == nil || o.Seen == nil:
	case o.SeenErr != "":
		t.say(nil, "The client's program had kept its socket, and learnt %s from read() after %s.", o.SeenErr, seconds(o.Seen.Duration()))
	case o.What == string(timeline.Quiet):
		t.say(nil, "The client's program had kept its socket and waited in read() to the end: nothing came, and nothing will.")
	case o.What == string(timeline.EndOfStream):
		t.say(nil, "The client's program had kept its socket, and read() told it of the server's close after %s.", seconds(o.Seen.Duration()))
	}
	return t.story
}

// lostFINs tells of a host's repeats.
func (t *teller) lostFINs(host string, fins []result.Packet) {
	var ids, dropped []int
	for _, p := range fins {
		if p.Fate == result.Dropped {
			dropped = append(dropped, p.ID)
		}
	}
	for _, p := range fins[1:] {
		ids = append(ids, p.ID)
	}
	if len(dropped) == len(fins) {
		t.say(dropped, "The %s's FIN reached the link of the other end and died behind its capture, each time.", host)
	}
	if len(ids) > 0 {
		first, last := fins[1].At()-fins[0].At(), fins[len(fins)-1].At()-fins[len(fins)-2].At()
		t.say(ids, "The %s's kernel sent that FIN again, %s. The first wait was %s, the last one %s.", host, times(len(ids)), seconds(first), seconds(last))
	}
}

// answersToFINs tells of acknowledgements that did not help, and of resets.
func (t *teller) answersToFINs() {
	for _, host := range []string{"client", "server"} {
		again := t.all(host, timeline.DuplicateACK)
		if len(again) == 0 {
			continue
		}
		lost := !slices.ContainsFunc(t.r.Packets, func(p result.Packet) bool { return slices.Contains(again, p.ID) && p.Fate != result.Dropped })
		if lost {
			t.say(again, "The %s acknowledged each repeat at once, %s, and all of that was lost.", host, times(len(again)))
		} else {
			t.say(again, "The %s acknowledged each repeat at once, %s.", host, times(len(again)))
		}
	}
	for _, host := range []string{"client", "server"} {
		if resets := t.all(host, timeline.RST); len(resets) > 0 {
			t.say(resets, "The %s answered with a reset: there it knew nothing of the connection any more.", host)
		}
	}
}

// lastState tells in which state a socket ended, and when.
func (t *teller) lastState(host string) {
	last, since := "", time.Duration(0)
	for _, s := range t.r.States {
		if s.Host == host && s.State != "LISTEN" && s.State != "CLOSED" && s.State != "SYN-RECV" && s.State != "SYN-SENT" {
			if s.State != last {
				last, since = s.State, s.At.Duration()
			}
		}
	}
	gone := goneAt(t.r, host)
	switch {
	case last == "":
	case gone == nil || gone.Seen == nil:
		t.say(nil, "When the run ended, the %s's socket was still there, in %s. Nothing that was on its way would have changed that.", host, last)
	case last == "TIME-WAIT":
		t.say(nil, "The %s was left with TIME-WAIT: it was last looked at in it %s after it was first seen there, and then it was gone.", host, seconds(gone.Seen.Duration()-since))
	case last == "FIN-WAIT-2":
		t.say(nil, "The %s waited in FIN-WAIT-2 for a FIN that never came; %s after that state was first seen its kernel forgot the connection, without a packet.", host, seconds(gone.Seen.Duration()-since))
	case last == "FIN-WAIT-1" || last == "CLOSING" || last == "LAST-ACK":
		t.say(nil, "The %s's last state was %s. By %s it was gone: no packet says so, and the other end was not told.", host, last, seconds(gone.Seen.Duration()))
	default:
		t.say(nil, "The %s's socket was gone by %s.", host, seconds(gone.Seen.Duration()))
	}
}
