package sysctl

// setting is one line of the file. Neighbours with the same reason share it.
type setting struct{ key, value, why string }

// defaults are in the order in which they are applied. Every key is there in
// Debian trixie's cloud kernel (6.12), so none is allowed to be absent.
//
// Left out on purpose: ip_forward (containers need it; the firewall drops what
// is forwarded), user.max_user_namespaces and vm.overcommit (they break
// ordinary programs), kernel.modules_disabled (the firewall and the tunnel load
// modules late), accept_ra (systemd-networkd's), kernel.warn_limit (a warning is
// no reason to stop a server), kernel.printk (the console is how a machine that
// cannot be reached tells why).
func defaults() []setting {
	group := func(why string, pairs ...string) (list []setting) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, setting{key: pairs[i], value: pairs[i+1], why: why})
		}
		return list
	}
	var all []setting
	for _, g := range [][]setting{
		group("log packets with impossible addresses (field notes §2.4)",
			"net.ipv4.conf.all.log_martians", "1",
			"net.ipv4.conf.default.log_martians", "1"),
		group("setuid programs leave no core dumps (field notes §2.4)",
			"fs.suid_dumpable", "0"),
		group("and no other program either: memory holds keys",
			"kernel.core_pattern", "|/bin/false",
			"kernel.core_uses_pid", "1"),

		group("a packet must come in where the answer would go out (RFC 3704, strict)",
			"net.ipv4.conf.all.rp_filter", "1",
			"net.ipv4.conf.default.rp_filter", "1"),
		group("a server takes no routes from strangers and gives none",
			"net.ipv4.conf.all.accept_redirects", "0",
			"net.ipv4.conf.default.accept_redirects", "0",
			"net.ipv4.conf.all.secure_redirects", "0",
			"net.ipv4.conf.default.secure_redirects", "0",
			"net.ipv4.conf.all.send_redirects", "0",
			"net.ipv4.conf.default.send_redirects", "0",
			"net.ipv6.conf.all.accept_redirects", "0",
			"net.ipv6.conf.default.accept_redirects", "0"),
		group("the sender does not choose the way",
			"net.ipv4.conf.all.accept_source_route", "0",
			"net.ipv4.conf.default.accept_source_route", "0",
			"net.ipv6.conf.all.accept_source_route", "0",
			"net.ipv6.conf.default.accept_source_route", "0"),
		group("the tunnel's address is nobody's business on the uplink's network",
			"net.ipv4.conf.all.arp_ignore", "1",
			"net.ipv4.conf.default.arp_ignore", "1",
			"net.ipv4.conf.all.arp_announce", "2",
			"net.ipv4.conf.default.arp_announce", "2"),
		group("survive SYN floods",
			"net.ipv4.tcp_syncookies", "1"),
		group("ignore resets for connections in TIME-WAIT (RFC 1337)",
			"net.ipv4.tcp_rfc1337", "1"),
		group("be no amplifier, and do not log bogus ICMP errors",
			"net.ipv4.icmp_echo_ignore_broadcasts", "1",
			"net.ipv4.icmp_ignore_bogus_error_responses", "1"),

		group("kernel addresses and messages are root's",
			"kernel.kptr_restrict", "2",
			"kernel.dmesg_restrict", "1"),
		group("no BPF without root, and no constants of the user's in its machine code",
			"kernel.unprivileged_bpf_disabled", "1",
			"net.core.bpf_jit_harden", "2"),
		group("no profiling without root (3 is Debian's addition)",
			"kernel.perf_event_paranoid", "3"),
		group("only root traces programs",
			"kernel.yama.ptrace_scope", "2"),
		group("no other kernel is started in place of the sealed one",
			"kernel.kexec_load_disabled", "1"),
		group("the provider's console gets no magic keys",
			"kernel.sysrq", "0"),
		group("places where local exploits begin; root keeps them, containers too",
			"kernel.unprivileged_userns_clone", "0",
			"vm.unprivileged_userfaultfd", "0"),
		group("not for root either: io_uring goes around what watches system calls (KSPP); databases may want 1",
			"kernel.io_uring_disabled", "2"),
		group("no terminal drivers by request, no typing into others' terminals",
			"dev.tty.ldisc_autoload", "0",
			"dev.tty.legacy_tiocsti", "0"),
		group("a kernel in doubt is restarted after 10 s, time to read the console",
			"kernel.panic_on_oops", "1",
			"kernel.panic", "10"),

		group("address space layout is random, as much as x86-64 allows; page 0 stays empty",
			"kernel.randomize_va_space", "2",
			"vm.mmap_rnd_bits", "32",
			"vm.mmap_rnd_compat_bits", "16",
			"vm.mmap_min_addr", "65536"),
		group("links and files in shared folders cannot be traps",
			"fs.protected_hardlinks", "1",
			"fs.protected_symlinks", "1",
			"fs.protected_fifos", "2",
			"fs.protected_regular", "2"),
	} {
		all = append(all, g...)
	}
	return all
}
