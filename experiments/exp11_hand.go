package experiments

import (
	"fmt"
	"strings"
)

// serverOfTimeouts is one program that listens on all ports: it sends back what comes, and does not read where a window is to close.
func serverOfTimeouts(p Plan) string {
	hand := p.byHand()
	var ports, unread []string
	for _, one := range entries(p.Options) {
		port := fmt.Sprint(one.port)
		ports = append(ports, port)
		if one.is == plightGone || one.is == plightUnread {
			unread = append(unread, port)
		}
	}
	return fmt.Sprintf(`python3 -c 'import select, socket
unread, listeners, talks, quiet = [%s], [], [], []
for port in [%s]:
    l = %s; listeners.append(l)
    if port in unread: l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, %d)
    l.bind(("%s", port)); l.listen()
while True:
    for s in select.select(listeners + talks, [], [])[0]:
        if s in listeners: (quiet if s.getsockname()[1] in unread else talks).append(s.accept()[0])
        elif b := s.recv(100): s.send(b)
        else: talks.remove(s)'`, strings.Join(unread, ", "), strings.Join(ports, ", "), hand.socket, smallestBuffer, hand.server.Addr())
}

// handOfTimeouts is a client for each connection, and the rule that lets the peers of some die.
func handOfTimeouts(p Plan) []string {
	hand := p.byHand()
	last := entries(p.Options)[len(entries(p.Options))-1].port
	lines := []string{
		fmt.Sprintf("until ip netns exec server ss -Hltn | grep -q :%d; do sleep 0.1; done # until the server listens", last),
		"ip netns exec server " + hand.route(hand.server) + fmt.Sprintf(" initrwnd 1 advmss %d", closingSize+timestampBytes),
		fmt.Sprintf(`cat > one.py <<'END'
import os, socket, sys, time
port, keep, user, then = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
s = %s
if user: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user)
if keep: s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
for option in sys.argv[5:]:
    name, value = option.split("=")
    s.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), int(value))
began = time.monotonic()
try:
    s.connect(("%s", port))
    if then == "busy": s.send(b"%s"); s.recv(100)
    if then != "read": time.sleep(2); began = time.monotonic() # by then the peer is dead
    if then == "busy": s.send(b"%s")
    if then == "full": s.send(bytes(%d))
    if then == "shutdown": s.shutdown(socket.SHUT_WR)
    if then == "close": s.close(); sys.exit()
    s.recv(100)
except OSError as e: print("port", port, "is told after", round(time.monotonic() - began, 1), "s:", os.strerror(e.errno), flush=True)
END`, hand.socket, hand.server.Addr(), strings.ReplaceAll(ackLossRequest, "\n", `\n`), ackLossData, 2*closingSize),
	}
	told, never, dies := "", "", 0
	for _, one := range entries(p.Options) {
		line := one.hand(p)
		if one.never() {
			line, never = line+` never="$never $!"`, "kill $never # those that nobody tells"
		} else {
			line, told = line+` told="$told $!"`, "wait $told # for those that are told: before Linux 5.11 this is without a closed window whose peer lives"
		}
		lines = append(lines, line+" # "+one.name)
		if one.cut() {
			dies++
		}
	}
	if first, last := died(p.Options); dies > 0 {
		lines = append(lines, fmt.Sprintf(`until [ $(ip netns exec client ss -Htn state established "dport >= :%d and dport <= :%d" | wc -l) = %d ]; do sleep 0.1; done # until they are connected`,
			first, last, dies),
			fmt.Sprintf("sleep 0.5; ip netns exec server %s -A INPUT -p tcp --dport %d:%d -j DROP", hand.iptables, first, last))
	}
	for _, line := range []string{told, "ip netns exec client ss -tano # who is still there, and for what it waits", never} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// never reports whether nothing ends the connection at its client.
func (s standing) never() bool {
	return s.is == plightHalfOpen || s.is == plightIdle && !s.keep || s.is == plightUnread && !s.user
}

// hand starts the client of one connection.
func (one entry) hand(p Plan) string {
	then := map[plight]string{plightBusy: "busy", plightGone: "full", plightUnread: "full", plightShutdown: "shutdown", plightClose: "close"}[one.is]
	if then == "" {
		then = "read"
	}
	keep, user := 0, int64(0)
	options := ""
	if one.keep {
		keep = 1
		for _, o := range [][2]string{{"keepidle", "TCP_KEEPIDLE"}, {"keepintvl", "TCP_KEEPINTVL"}, {"keepcnt", "TCP_KEEPCNT"}} {
			if v := p.Options[o[0]]; v != "" {
				options += " " + o[1] + "=" + v
			}
		}
	}
	if one.user {
		user = p.Options.Number("user-timeout")
	}
	return fmt.Sprintf("ip netns exec client python3 one.py %d %d %d %s%s &", one.port, keep, user, then, options)
}
