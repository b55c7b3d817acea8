ip netns add client && ip netns add server
ip link add eth0 netns client type veth peer name eth0 netns server
ip netns exec client sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv4.tcp_congestion_control=reno
ip netns exec client ip address add fd00:10:99::1/64 dev eth0 nodad
ip netns exec client ip link set lo up
ip netns exec client ip link set eth0 up
ip netns exec client ethtool -K eth0 tso off gso off gro off tx off
ip netns exec server sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv4.tcp_congestion_control=reno
ip netns exec server ip address add fd00:10:99::2/64 dev eth0 nodad
ip netns exec server ip link set lo up
ip netns exec server ip link set eth0 up
ip netns exec server ethtool -K eth0 tso off gso off gro off tx off
ip -n client neighbour replace fd00:10:99::2 lladdr $(ip netns exec server cat /sys/class/net/eth0/address) dev eth0 nud permanent
ip -n server neighbour replace fd00:10:99::1 lladdr $(ip netns exec client cat /sys/class/net/eth0/address) dev eth0 nud permanent
ip netns exec client sysctl -w net.ipv4.tcp_syn_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_syn_linear_timeouts=0
ip netns exec server sysctl -w net.ipv4.tcp_synack_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_time=2
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_intvl=1
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_probes=2
ip netns exec client sysctl -w net.ipv4.tcp_retries2=2
ip netns exec client sysctl -w net.ipv4.tcp_orphan_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_rto_max_ms=120000
ip netns exec server ip6tables -t filter -A INPUT -p tcp --dport 8110 --tcp-flags SYN,ACK ACK -m length --length 0:119 -j DROP
ip netns exec server ip6tables -t filter -A INPUT -p tcp --dport 8113 --tcp-flags FIN FIN -j DROP
ip netns exec server python3 -c 'import select, socket
unread, listeners, talks, quiet = [8110], [], [], []
for port in [8105, 8106, 8110, 8113]:
    l = socket.socket(socket.AF_INET6); listeners.append(l)
    if port in unread: l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1152)
    l.bind(("fd00:10:99::2", port)); l.listen()
while True:
    for s in select.select(listeners + talks, [], [])[0]:
        if s in listeners: (quiet if s.getsockname()[1] in unread else talks).append(s.accept()[0])
        elif b := s.recv(100): s.send(b)
        else: talks.remove(s)' &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
until ip netns exec server ss -Hltn | grep -q :8113; do sleep 0.1; done # until the server listens
ip netns exec server ip -6 route change fd00:10:99::/64 dev eth0 proto kernel metric 256 initrwnd 1 advmss 512
cat > one.py <<'END'
import os, socket, sys, time
port, keep, user, then = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
s = socket.socket(socket.AF_INET6)
if user: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user)
if keep: s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
for option in sys.argv[5:]:
    name, value = option.split("=")
    s.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), int(value))
began = time.monotonic()
try:
    s.connect(("fd00:10:99::2", port))
    if then == "busy": s.send(b"hello\n"); s.recv(100)
    if then != "read": time.sleep(2); began = time.monotonic() # by then the peer is dead
    if then == "busy": s.send(b"123456")
    if then == "full": s.send(bytes(1000))
    if then == "shutdown": s.shutdown(socket.SHUT_WR)
    if then == "close": s.close(); sys.exit()
    s.recv(100)
except OSError as e: print("port", port, "is told after", round(time.monotonic() - began, 1), "s:", os.strerror(e.errno), flush=True)
END
ip netns exec client python3 one.py 8105 1 0 read TCP_KEEPIDLE=3 & told="$told $!" # idle, keepalive
ip netns exec client python3 one.py 8106 1 2500 read TCP_KEEPIDLE=3 & told="$told $!" # idle, keepalive and user timeout
ip netns exec client python3 one.py 8110 0 0 full & told="$told $!" # window closed, peer dead
ip netns exec client python3 one.py 8113 0 0 shutdown & told="$told $!" # shut down
until [ $(ip netns exec client ss -Htn state established "dport >= :8105 and dport <= :8106" | wc -l) = 2 ]; do sleep 0.1; done # until they are connected
sleep 0.5; ip netns exec server ip6tables -A INPUT -p tcp --dport 8105:8106 -j DROP
wait $told # for those that are told: before Linux 5.11 this is without a closed window whose peer lives
ip netns exec client ss -tano # who is still there, and for what it waits
ip netns exec server ip6tables -t filter -vnL INPUT
ip netns exec server ip6tables -t filter -vnL INPUT
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
