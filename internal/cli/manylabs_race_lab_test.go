//go:build lab && race

package cli

// manyLabs is how many labs one process makes at once: more of them keep this machine from running their timers in time.
const manyLabs = 4
