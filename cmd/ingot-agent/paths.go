package main

// Where things are while the initrd runs.
const (
	sysroot     = "/sysroot"
	sysrootVar  = "/sysroot/var"
	stateDir    = "/sysroot/var/lib/ingot"
	identityDir = "/sysroot/var/lib/ingot/identity"
	// allowedFile lists, one path.Match pattern per line, what an identity
	// may hold. It is part of the sealed root, so that a root attacker who
	// writes to the identity directory cannot widen it.
	allowedFile = "/sysroot/usr/lib/ingot/identity.list"
	// slotDefinitions and varDefinitions are systemd-repart definitions: with
	// and without the var partition.
	slotDefinitions = "/sysroot/usr/lib/ingot/repart.slots.d"
	allDefinitions  = "/sysroot/usr/lib/ingot/repart.all.d"
	// varLabel is the file system label that makes any disk's file system
	// this machine's /var, so that a data volume can move to a new server.
	varLabel = "ingot-var"
)

// runDir survives the switch to the real root: /run moves along.
const runDir = "/run/ingot"

// configuredFlag, a file in runDir, is the condition of everything that opens
// the machine to a network: systemd-networkd starts only when it exists.
const configuredFlag = "configured"

// realRoot is where printStatus looks in the running system.
const realRoot = "/"
