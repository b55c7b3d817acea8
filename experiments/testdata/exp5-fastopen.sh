ip netns add client && ip netns add server
ip link add eth0 netns client type veth peer name eth0 netns server
ip netns exec client sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control=reno
ip netns exec client ip address add 10.99.0.1/24 dev eth0
ip netns exec client ip link set lo up
ip netns exec client ip link set eth0 up
ip netns exec client ethtool -K eth0 tso off gso off gro off tx off
ip netns exec server sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control=reno
ip netns exec server ip address add 10.99.0.2/24 dev eth0
ip netns exec server ip link set lo up
ip netns exec server ip link set eth0 up
ip netns exec server ethtool -K eth0 tso off gso off gro off tx off
ip netns exec client sysctl -w net.ipv4.tcp_fastopen=1
ip netns exec server sysctl -w net.ipv4.tcp_fastopen=2
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8080 --tcp-flags FIN,SYN,RST,ACK SYN -m statistic --mode nth --every 1000000 --packet 1 -j DROP
ip netns exec server python3 -c 'import socket; l = socket.socket(); l.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16); l.bind(("10.99.0.2", 8080)); l.listen()
while c := l.accept()[0]:
    while b := c.recv(65536): c.sendall(b)
    c.close()' &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec client python3 -c 'import select, socket, time
text = b"x" * (100 - 1) + b"\n"
for i in range(3):
    s = socket.socket()
    s.setblocking(False)
    sent = 0
    try:
        sent = s.sendto(text, socket.MSG_FASTOPEN, ("10.99.0.2", 8080))
    except BlockingIOError:
        pass # no cookie yet: the SYN asks for one
    except OSError as e:
        print(e) # EOPNOTSUPP: do without
        s.setblocking(True)
        s.connect(("10.99.0.2", 8080))
    select.select([], [s], [])
    s.setblocking(True)
    s.sendall(text[sent:])
    s.recv(len(text))
    time.sleep(0.2)
    s.close()
    time.sleep(0.2)'
ip netns exec client ip tcp_metrics show # the cookie, as the client keeps it
ip netns exec server iptables -t filter -vnL INPUT
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
