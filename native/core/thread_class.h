// What the system is told of a thread of ours.
#pragma once

#ifdef __APPLE__
#include <pthread/qos.h>
#endif

namespace flashmoe {

/// Makes the calling thread one whose work somebody waits for: arithmetic, and reads that arithmetic waits for. Both are of
/// one class, since a reader of a lower one would come after the threads that wait for it. On a Mac the class decides the
/// priority of a thread and of its reads (Apple's Energy Efficiency Guide); threads of ours would have the default one,
/// which is lower. Jobs of a setup keep it: nobody sits before them. Elsewhere nothing happens, and a thread that the
/// system refuses it to computes the same, later.
inline void make_user_initiated() {
#ifdef __APPLE__
    (void)pthread_set_qos_class_self_np(QOS_CLASS_USER_INITIATED, 0);
#endif
}

} // namespace flashmoe
