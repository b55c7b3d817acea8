package page

// zhWeb are the words of the pages that `tcplab serve` shows.
var zhWeb = []message{}
