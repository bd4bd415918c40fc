//! The numbers of linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h and linux/if_arp.h, each with the type that
//! it has in a message.

use linux_raw_sys::if_arp::{self, net_device_flags};
use linux_raw_sys::net;
use linux_raw_sys::netlink::{self, nlmsgerr_attrs, rt_class_t, rt_scope_t, rtattr_type_t, rtnetlink_groups};

/// Constants by their names in the headers; the bindings have them as `u32` or as values of enumerations.
macro_rules! numbers {
    ($place:ident as $type:ty: $($name:ident)*) => { $(pub const $name: $type = $place::$name as $type;)* };
}

numbers!(netlink as u16: NLMSG_ERROR NLMSG_DONE);
numbers!(netlink as u16: NLM_F_REQUEST NLM_F_ACK NLM_F_DUMP NLM_F_REPLACE NLM_F_CREATE NLM_F_APPEND);
// Of an answer: it holds only the header of the request; it ends with attributes that explain it.
numbers!(netlink as u16: NLM_F_CAPPED NLM_F_ACK_TLVS);
numbers!(nlmsgerr_attrs as u16: NLMSGERR_ATTR_MSG);
numbers!(rtnetlink_groups as u32: RTNLGRP_LINK RTNLGRP_IPV4_IFADDR RTNLGRP_IPV6_IFADDR RTNLGRP_ND_USEROPT);

numbers!(netlink as u16: RTM_NEWLINK RTM_DELLINK RTM_GETLINK RTM_NEWADDR RTM_DELADDR RTM_GETADDR RTM_NEWROUTE RTM_DELROUTE RTM_GETROUTE);
numbers!(netlink as u16: RTM_NEWNDUSEROPT);

numbers!(netlink as u16: IFLA_ADDRESS IFLA_IFNAME IFLA_MTU IFLA_MASTER IFLA_LINKINFO IFLA_EXT_MASK IFLA_PARENT_DEV_NAME);
numbers!(netlink as u16: IFLA_INFO_KIND);
// Leave the counters out of the answer.
numbers!(netlink as u32: RTEXT_FILTER_SKIP_STATS);
numbers!(net_device_flags as u32: IFF_UP IFF_LOOPBACK IFF_LOWER_UP);
numbers!(if_arp as u16: ARPHRD_ETHER);
numbers!(if_arp as usize: IFNAMSIZ);

numbers!(netlink as u16: IFA_ADDRESS IFA_LOCAL IFA_BROADCAST IFA_FLAGS IFA_CACHEINFO IFA_PROTO);
numbers!(netlink as u32: IFA_F_DADFAILED IFA_F_TENTATIVE IFA_F_PERMANENT);
numbers!(netlink as u8: IFAPROT_KERNEL_RA);

numbers!(rtattr_type_t as u16: RTA_DST RTA_OIF RTA_GATEWAY RTA_PRIORITY);
numbers!(rt_class_t as u8: RT_TABLE_MAIN);
numbers!(rt_scope_t as u8: RT_SCOPE_LINK);
// Who made a route: the administrator, or a DHCP client.
numbers!(netlink as u8: RTPROT_STATIC RTPROT_DHCP RTPROT_RA RTPROT_KERNEL RTN_UNICAST);
numbers!(netlink as u32: RTNH_F_ONLINK);
// A route that the kernel made of another one for a single destination.
numbers!(netlink as u32: RTM_F_CLONED);

numbers!(net as u8: AF_UNSPEC AF_INET AF_INET6 AF_BRIDGE);
