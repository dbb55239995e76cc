#!/bin/sh
# fail2ban-ignore ADDRESS ends with 0 when the address must never be banned:
# the way to it leads into the tunnel or stays on this machine. The firewall
# drops who claims such an address and comes from elsewhere.
case "$(ip -oneline route get "$1" 2>/dev/null) " in
*" dev wg0 "* | *" dev lo "*) exit 0 ;;
esac
exit 1
