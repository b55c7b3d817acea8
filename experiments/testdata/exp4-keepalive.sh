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
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_time=10
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_intvl=5
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_probes=3
ip netns exec server python3 -m http.server --bind 10.99.0.2 8080 &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
until ip netns exec server ss -Hltn | grep -q 8080; do sleep 0.1; done # until the server listens
ip netns exec client python3 -c 'import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1); s.connect(("10.99.0.2", 8080)); print(s.recv(1))' &
until ip netns exec server ss -Htn state established | grep -q 8080; do sleep 0.1; done # until they are connected
ip netns exec server iptables -A INPUT -s 10.99.0.1 -j DROP
wait %4
ip netns exec server ss -tn # what the server still believes
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
