//go:build lab && !race

package cli

// manyLabs is how many labs one process makes at once.
const manyLabs = 20
