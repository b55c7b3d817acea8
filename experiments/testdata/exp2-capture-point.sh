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
ip netns exec client sysctl -w net.ipv4.tcp_syn_retries=1
ip netns exec server sysctl -w net.ipv4.tcp_synack_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_syn_linear_timeouts=0
ip netns exec client iptables -t filter -A INPUT -p tcp --sport 8001 --tcp-flags FIN,SYN,RST,ACK SYN,ACK -j DROP
ip netns exec client iptables -t raw -A PREROUTING -p tcp --sport 8002 --tcp-flags FIN,SYN,RST,ACK SYN,ACK -j DROP
ip netns exec client iptables -t filter -A OUTPUT -p tcp --dport 8003 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec client iptables -t raw -A OUTPUT -p tcp --dport 8004 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec client iptables -t mangle -A POSTROUTING -p tcp --dport 8005 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8006 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec server iptables -t raw -A PREROUTING -p tcp --dport 8007 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec server iptables -t filter -A OUTPUT -p tcp --sport 8008 --tcp-flags FIN,SYN,RST,ACK SYN,ACK -j DROP
ip netns exec server iptables -t raw -A OUTPUT -p tcp --sport 8009 --tcp-flags FIN,SYN,RST,ACK SYN,ACK -j DROP
ip netns exec server iptables -t mangle -A POSTROUTING -p tcp --sport 8010 --tcp-flags FIN,SYN,RST,ACK SYN,ACK -j DROP
ip netns exec server python3 -m http.server --bind 10.99.0.2 8001 &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
for port in 8002 8003 8004 8005 8006 8007 8008 8009 8010; do ip netns exec server python3 -m http.server --bind 10.99.0.2 $port & done
sleep 1 # until all listen
for port in 8001 8002 8003 8004 8005 8006 8007 8008 8009 8010; do ip netns exec client curl -sS http://10.99.0.2:$port/ & done
sleep 5 # until all have given up
kill %4 %5 %6 %7 %8 %9 %10 %11 %12
ip netns exec client iptables -t filter -vnL INPUT
ip netns exec client iptables -t raw -vnL PREROUTING
ip netns exec client iptables -t filter -vnL OUTPUT
ip netns exec client iptables -t raw -vnL OUTPUT
ip netns exec client iptables -t mangle -vnL POSTROUTING
ip netns exec server iptables -t filter -vnL INPUT
ip netns exec server iptables -t raw -vnL PREROUTING
ip netns exec server iptables -t filter -vnL OUTPUT
ip netns exec server iptables -t raw -vnL OUTPUT
ip netns exec server iptables -t mangle -vnL POSTROUTING
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
