//go:build race

package cli

// atOnce is how many tests go at once. The race detector makes each of them work ten times as hard.
const atOnce = "5"

// manyLabs is how many labs one process makes at once: more of them keep this machine from running their timers in time.
const manyLabs = 4
